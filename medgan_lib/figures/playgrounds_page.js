// The page's part: what trains, what is drawn, and what the controls do.
document.querySelectorAll('[data-playground="NAME"]:not([data-ready])').forEach(function (figure) {
  figure.setAttribute("data-ready", "");
  const { array, sigmoid, mean, uniforms, normal, network, forward, gradientsD, gradientsG, adam, clip } =
    window.medganPlayground;
  const BATCH = 64, VIEW = 1.6, GRID = 48;
  const DATA = JSON.parse(figure.getAttribute("data-points")), still = figure.querySelector("img");
  const [field, chart] = figure.querySelectorAll("canvas"), status = figure.querySelector("output");
  const button = Object.fromEntries([...figure.querySelectorAll("button")].map(b => [b.getAttribute("data-do"), b]));
  const control = name => figure.querySelector(`[data-choice="${name}"]`), choice = name => control(name).value;
  const calm = window.matchMedia && window.matchMedia("(prefers-reduced-motion: reduce)").matches;
  let u, D, G, data, objective, shownReal, shownZ, losses, history, timer = null;
  const noise = n => array(2 * n, () => normal(u));
  function realPoints(n) {
    const x = new Float64Array(2 * n);
    for (let i = 0; i < n; i++) {
      const centre = data.centres[Math.floor(u() * data.centres.length)];
      x.set([centre[0] + data.sigma * normal(u), centre[1] + data.sigma * normal(u)], 2 * i);
    }
    return x;
  }
  function start() {
    u = uniforms(Number(choice("seed")));
    objective = choice("objective");
    data = DATA[choice("data")];
    D = network([2, 32, 32, 1], u);
    G = network([2, 16, 16, 2], u);
    shownReal = realPoints(160);
    shownZ = noise(120);
    losses = [NaN, NaN];
    history = [];
    run(false);
    show();
  }
  function stepD() {
    const real = realPoints(BATCH), fake = forward(G, noise(BATCH))[3];
    const found = gradientsD(D, real, fake, objective, objective === "wgan-gp" ? array(BATCH, () => u()) : null);
    adam(D, found.grad, Number(choice("lr_d")));
    if (objective === "wgan") { clip(D); }
    losses = [found.loss, losses[1]];
    history.push(losses);
  }
  function stepG() {
    const found = gradientsG(D, G, noise(BATCH), objective);
    adam(G, found.grad, Number(choice("lr_g")));
    losses = [losses[0], found.loss];
    history.push(losses);
  }
  function stepBoth() {
    for (let k = 0; k < Number(choice("d_steps")); k++) { stepD(); }
    stepG();
  }
  function frame() {
    const box = figure.getBoundingClientRect(), end = performance.now() + (calm ? 200 : 10);
    if (box.bottom > 0 && box.top < window.innerHeight) { // out of sight, it waits
      for (let k = 0; k < (calm ? 60 : 4) && (!k || performance.now() < end); k++) { stepBoth(); }
      if (!losses.every(Number.isFinite)) { run(false); }
      show();
    }
    if (timer) { later(); }
  }
  function later() { timer = calm ? setTimeout(frame, 1000) : requestAnimationFrame(frame); }
  function run(on) {
    if (timer) { (calm ? clearTimeout : cancelAnimationFrame)(timer); timer = null; }
    if (on) { later(); }
    button.run.textContent = on ? "Stop" : "Run";
    status.setAttribute("aria-live", on ? "off" : "polite");
  }

  // What one sees: purple diamonds at G(z) with arrows along -dL/dx, dark real points, D's output as colour.
  const BLUE = [92, 165, 214], ORANGE = [243, 156, 70], cells = document.createElement("canvas");
  cells.width = cells.height = GRID;
  const along = i => VIEW * (2 * i / (GRID - 1) - 1);
  const grid = array(2 * GRID * GRID, (_, i) => (i % 2 ? -along(Math.floor(i / 2 / GRID)) : along((i >> 1) % GRID)));
  function sharp(canvas) { // a context in CSS pixels, drawn in those of the screen
    const scale = window.devicePixelRatio || 1, c = canvas.getContext("2d");
    const { clientWidth: w, clientHeight: h } = canvas;
    canvas.width = Math.round(w * scale);
    canvas.height = Math.round(h * scale);
    c.setTransform(scale, 0, 0, scale, 0, 0);
    return { c, w, h };
  }
  function lines(c, paths, colour, width, dash = []) {
    Object.assign(c, { strokeStyle: colour, lineWidth: width });
    c.setLineDash(dash);
    c.beginPath();
    paths.forEach(path => path.forEach(([x, y], i) => (i ? c.lineTo(x, y) : c.moveTo(x, y))));
    c.stroke();
  }
  function judged(x) { // D's output from -1, generated, to 1, real; a critic's is measured from between its two means
    const l = forward(D, grid)[3];
    if (!objective.startsWith("wgan")) {
      return l.map(v => (objective === "lsgan" ? Math.max(-1, Math.min(1, 2 * v - 1)) : 2 * sigmoid(v) - 1));
    }
    const half = [shownReal, x].reduce((sum, some) => sum + mean(v => v, forward(D, some)[3]) / 2, 0);
    const most = l.reduce((top, v) => Math.max(top, Math.abs(v - half)), 1e-12);
    return l.map(v => (v - half) / most);
  }
  function drawField(c, size, v) {
    const image = new ImageData(GRID, GRID);
    v.forEach((s, i) => {
      const end = s < 0 ? BLUE : ORANGE;
      image.data.set([...end.map(e => 255 + Math.abs(s) * (e - 255)), 255], 4 * i);
    });
    cells.getContext("2d").putImageData(image, 0, 0);
    c.drawImage(cells, 0.5, 0.5, GRID - 1, GRID - 1, 0, 0, size, size);
    const zero = (i, j) => { // where v crosses zero between two neighbours
      const share = v[i] / (v[i] - v[j]), mix = (a, b) => (a + share * (b - a)) * size / (GRID - 1);
      return [mix(i % GRID, j % GRID), mix(Math.floor(i / GRID), Math.floor(j / GRID))];
    };
    const contour = [];
    for (let i = 0; i < GRID * (GRID - 1); i++) {
      if (i % GRID === GRID - 1) { continue; }
      const corners = [i, i + 1, i + GRID + 1, i + GRID];
      const ends = corners.map((a, k) => [a, corners[(k + 1) % 4]]).filter(([a, b]) => v[a] > 0 !== v[b] > 0);
      for (let k = 0; k + 1 < ends.length; k += 2) { contour.push([zero(...ends[k]), zero(...ends[k + 1])]); }
    }
    lines(c, contour, "#444", 1.2);
  }
  function drawPoints(c, size, { x, dx }) {
    const px = v => (v / VIEW + 1) * size / 2, py = v => (1 - v / VIEW) * size / 2, r = size / 120;
    c.fillStyle = "#1a1a1a";
    for (let i = 0; i < shownReal.length; i += 2) {
      c.beginPath();
      c.arc(px(shownReal[i]), py(shownReal[i + 1]), 0.65 * r, 0, 7);
      c.fill();
    }
    const arrows = [], n = x.length / 2;
    for (let i = 0; i < 2 * n; i += 2) { // an arrow's length grows as |g| / (1 + |g|)
      const g = [-n * dx[i], n * dx[i + 1]], scale = size / 14 / (1 + Math.hypot(...g));
      const from = [px(x[i]), py(x[i + 1])], to = [from[0] + scale * g[0], from[1] + scale * g[1]];
      const wing = turn => to.map((v, k) => v - scale * 0.35 * (g[k] + turn * [-g[1], g[0]][k]));
      arrows.push([from, to], [wing(0.6), to, wing(-0.6)]);
    }
    lines(c, arrows, "rgba(106, 27, 154, 0.8)", 1);
    Object.assign(c, { fillStyle: "#9c27b0", strokeStyle: "#fff", lineWidth: 1 });
    for (let i = 0; i < 2 * n; i += 2) {
      c.beginPath();
      [[r, 0], [0, r], [-r, 0], [0, -r]].forEach(([a, b]) => c.lineTo(px(x[i]) + a, py(x[i + 1]) + b));
      c.closePath();
      c.fill();
      c.stroke();
    }
  }
  function drawChart() { // both losses, averaged over neighbouring steps where there are too many to draw
    const { c, w, h } = sharp(chart), columns = Math.min(history.length, Math.round(w / 4));
    const curves = [0, 1].map(which => [...Array(columns).keys()].map(function (k) {
      const from = Math.floor(k * history.length / columns), to = Math.floor((k + 1) * history.length / columns);
      return mean(v => v[which], history.slice(from, to));
    }));
    const seen = curves.flat().filter(Number.isFinite).sort((a, b) => a - b), last = seen.length - 1;
    if (last < 0) { return; }
    const bottom = seen[Math.floor(0.02 * last)], top = seen[Math.ceil(0.98 * last)]; // peaks may leave it
    const y = v => h - 5 - (h - 10) * (top > bottom ? (v - bottom) / (top - bottom) : 0.5);
    const left = 58, path = values => values.map((v, k) => [left + (w - left - 4) * (k + 1) / columns, y(v)]);
    const known = values => path(values).filter(([, b]) => Number.isFinite(b));
    lines(c, [known(curves[0])], "#00684d", 2);
    lines(c, [known(curves[1])], "#9c27b0", 2, [6, 3]);
    Object.assign(c, { font: "12px sans-serif", fillStyle: "#1a1a1a" });
    [[top, 12], [bottom, h - 3]].forEach(([v, at]) => c.fillText(Number(v.toPrecision(2)), 2, at));
  }
  function said({ x, dx }) {
    const n = x.length / 2, reached = new Set();
    let near = 0, arrow = 0;
    for (let i = 0; i < 2 * n; i += 2) {
      const hit = data.centres.map((c, k) => k).filter(k =>
        Math.hypot(x[i] - data.centres[k][0], x[i + 1] - data.centres[k][1]) < 3 * data.sigma);
      near += hit.length ? 1 / n : 0;
      arrow += Math.hypot(dx[i], dx[i + 1]);
      hit.forEach(k => reached.add(k));
    }
    if (!Number.isFinite(near + arrow)) { return "The numbers overflowed: start again with smaller learning rates."; }
    const told = losses.map((loss, k) => (Number.isNaN(loss) ? "" : `${"DG"[k]} ${Number(loss.toPrecision(3))}`));
    return [`Steps: D ${D.steps}, G ${G.steps}.`, `Loss: ${told.filter(text => text).join(", ") || "none yet"}.`,
      `Generated points near real ones: ${Math.round(100 * near)}\u00a0%, ` +
        `at ${reached.size} of ${data.centres.length} places.`,
      `Mean length of −∂L/∂x: ${Number(arrow.toPrecision(2))}.`].join("\n");
  }
  function draw(now) {
    const { c, w } = sharp(field);
    if (!w) { return; }
    drawField(c, w, judged(now.x));
    drawPoints(c, w, now);
    drawChart();
  }
  const shown = () => gradientsG(D, G, shownZ, objective);
  function show() {
    const now = shown();
    draw(now);
    status.textContent = said(now);
    if (!timer) {
      field.setAttribute("aria-label", `${figure.getAttribute("aria-label")}. Real and generated points in the plane ` +
        `over D's output as colour. ${status.textContent}`);
      chart.setAttribute("aria-label", `Both losses over ${history.length} steps. ${status.textContent}`);
    }
  }

  // Controls. A new start for what changes the game; rates are read at every step.
  const actions = {
    run: () => { run(!timer); show(); },
    both: () => { run(false); stepBoth(); show(); },
    d: () => { run(false); stepD(); show(); },
    g: () => { run(false); stepG(); show(); },
    again: () => { control("seed").value = (Number(choice("seed")) + 1) % 10000; start(); },
  };
  Object.entries(actions).forEach(([name, action]) => button[name].addEventListener("click", action));
  ["data", "objective", "seed"].forEach(name => control(name).addEventListener("change", start));
  figure.querySelectorAll("[data-live]").forEach(part => { part.hidden = false; });
  still.hidden = true;
  still.style.display = "none";
  const step = { both: stepBoth, d: stepD, g: stepG }, state = () => ({ D, G, shownReal, shownZ, losses });
  figure.playground = { step, show, state };
  start();
  if (window.ResizeObserver) { new ResizeObserver(() => draw(shown())).observe(field); }
});
