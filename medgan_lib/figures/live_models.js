// A trained generator in the page: operations on flat arrays, and controls that move the vector they start from.
document.querySelectorAll('[data-live-model="NAME"]:not([data-ready])').forEach(function (figure) {
  figure.setAttribute("data-ready", "");
  const model = JSON.parse(figure.getAttribute("data-model")), [channels, height, width] = model.shape;
  const product = list => list.reduce((all, n) => all * n, 1);

  // The weights: float16 in base64, read in the order of the operations.
  const packed = atob(figure.getAttribute("data-weights"));
  const weights = Float32Array.from({ length: packed.length / 2 }, function (_, i) {
    const bits = packed.charCodeAt(2 * i) | packed.charCodeAt(2 * i + 1) << 8, e = bits >> 10 & 31, m = bits & 1023;
    return (bits >> 15 ? -1 : 1) * (e ? (1 + m / 1024) * 2 ** (e - 15) : m * 2 ** -24);
  });
  let read = 0;
  const take = n => weights.subarray(read, read += n);
  function widened(narrow, n) { // n kernels of 3 x 3 that see every pixel twice, as 4 x 4 that see it once
    const wide = new Float32Array(16 * n);
    narrow.forEach(function (w, i) {
      const at = 16 * Math.floor(i / 9) + 4 * Math.floor(i % 9 / 3) + i % 3;
      for (const by of [0, 1, 4, 5]) { wide[at + by] += w; }
    });
    return wide;
  }
  const steps = model.operations.map(function (step) {
    const size = j => (j ? model.operations[j - 1].size : model.start.length);
    if (step.kind === "constant") { return { ...step, b: take(step.size) }; }
    if (step.kind === "linear") { return { ...step, W: take(step.size * size(step.in[0])), b: take(step.size) }; }
    if (step.kind === "affine") { return { ...step, W: take(step.parts), b: take(step.parts) }; }
    if (step.kind !== "conv") { return step; }
    const n = step.from[0] * step.to[0], W = take(n * (step.wide ? 9 : product(step.kernel)));
    return { ...step, W: step.wide ? widened(W, n) : W, b: take(step.to[0]) };
  });

  // Every pixel of the smaller side meets, for each weight, one pixel of the larger side.
  function convolution({ from, to, kernel, stride, padding, transposed, W, b }, x, y) {
    const [ins, h, w] = from, [outs, H, V] = to;
    const [small, large] = transposed ? [[h, w], [H, V]] : [[H, V], [h, w]];
    const ends = function (axis, k) { // the first and the last place, from which the weight's pixel lies inside
      const s = stride[axis], at = padding[axis] - k;
      return [Math.max(0, Math.ceil(at / s)), Math.min(small[axis] - 1, Math.floor((large[axis] - 1 + at) / s))];
    };
    for (let o = 0, at = 0; o < outs; o++) {
      y.fill(b[o], o * H * V, (o + 1) * H * V);
      for (let i = 0; i < ins; i++) {
        for (let k = 0; k < kernel[0]; k++) {
          const [top, bottom] = ends(0, k);
          for (let l = 0; l < kernel[1]; l++) {
            const [left, right] = ends(1, l), weight = W[at++], s = stride[1];
            for (let r = top; r <= bottom; r++) {
              const big = (r * stride[0] - padding[0] + k) * large[1] - padding[1] + l, little = r * small[1];
              if (transposed) {
                const a = i * h * w + little, c = o * H * V + big;
                for (let q = left; q <= right; q++) { y[c + q * s] += weight * x[a + q]; }
              } else {
                const a = i * h * w + big, c = o * H * V + little;
                for (let q = left; q <= right; q++) { y[c + q] += weight * x[a + q * s]; }
              }
            }
          }
        }
      }
    }
  }
  const each = f => (step, y, x) => x.forEach((v, i) => { y[i] = f(v, step); });
  const both = f => (step, y, a, c) => y.forEach((_, i) => {
    y[i] = f(a[Math.floor(i * a.length / y.length)], c[Math.floor(i * c.length / y.length)]);
  });
  const OPERATIONS = {
    constant: ({ b }, y) => y.set(b),
    linear({ W, b }, y, x) {
      for (let j = 0, at = 0; j < y.length; j++) {
        let sum = b[j];
        for (let i = 0; i < x.length; i++) { sum += W[at++] * x[i]; }
        y[j] = sum;
      }
    },
    conv: (step, y, x) => convolution(step, x, y),
    affine({ W, b, parts }, y, x) {
      const n = x.length / parts;
      x.forEach((v, i) => { y[i] = v * W[Math.floor(i / n)] + b[Math.floor(i / n)]; });
    },
    up({ from: [, h, w], times }, y, x) {
      y.forEach(function (_, i) {
        const row = Math.floor(i / (w * times)), c = Math.floor(row / (h * times));
        y[i] = x[(c * h + Math.floor(row % (h * times) / times)) * w + Math.floor(i % (w * times) / times)];
      });
    },
    slice: ({ start }, y, x) => y.set(x.subarray(start, start + y.length)),
    cat: (_, y, ...parts) => parts.reduce((at, x) => { y.set(x, at); return at + x.length; }, 0),
    add: both((a, c) => a + c), mul: both((a, c) => a * c),
    relu: each(v => Math.max(0, v)), leaky: each((v, { slope }) => (v > 0 ? v : slope * v)),
    tanh: each(Math.tanh), sigmoid: each(v => 1 / (1 + Math.exp(-v))),
  };
  function generated(vector) {
    const values = [Float32Array.from(vector)];
    for (const step of steps) {
      const y = new Float32Array(step.size);
      OPERATIONS[step.kind](step, y, ...step.in.map(i => values[i]));
      values.push(y);
    }
    return values[values.length - 1];
  }

  // Random numbers as those of the playground: mulberry32, and Box and Muller's normal ones.
  function uniforms(seed) {
    let state = seed | 0;
    return function () {
      state = (state + 0x6D2B79F5) | 0;
      let t = Math.imul(state ^ (state >>> 15), 1 | state);
      t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
      return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
    };
  }
  const normal = u => Math.sqrt(-2 * Math.log(1 - u())) * Math.cos(2 * Math.PI * u());

  // The controls: the vector is the noise's place, plus each slider times its direction, plus what is chosen.
  const canvas = figure.querySelector("canvas"), c = canvas.getContext("2d"), pixels = c.createImageData(width, height);
  const controls = [...figure.querySelectorAll("[data-control]")];
  const button = name => figure.querySelector(`[data-do=${name}]`);
  const told = figure.querySelector("[data-told]");
  let base, u, drawn, asked = 0;
  const number = v => (Number(v) > 0 ? "+" : "") + String(Number(v)).replace("-", "−");
  const words = control => (control.type === "range" ? number(control.value) : control.selectedOptions[0].textContent);
  function vector() {
    const v = base.slice();
    controls.forEach(function (control, k) {
      const by = model.controls[k], slider = control.type === "range", share = slider ? Number(control.value) : 1;
      (slider ? by : by[control.selectedIndex]).forEach((d, i) => { v[i] += share * d; });
    });
    return v;
  }
  function draw() {
    asked = 0;
    const [low, high] = model.window, x = generated(vector()), n = width * height;
    for (let i = 0; i < n; i++) { // the array of bytes rounds and clips
      for (let k = 0; k < 3; k++) {
        pixels.data[4 * i + k] = 255 * (x[(channels === 3 ? k : 0) * n + i] - low) / (high - low);
      }
      pixels.data[4 * i + 3] = 255;
    }
    c.putImageData(pixels, 0, 0);
  }
  function show() { // at most one picture for each of the screen's
    const parts = controls.map(control => `${control.getAttribute("data-label")} ${words(control)}`);
    if (told) { told.textContent = drawn ? `Noise ${drawn}` : ""; }
    if (told && drawn) { parts.push(`noise ${drawn}`); }
    canvas.setAttribute("aria-label", model.alt + (parts.length ? ` (${parts.join(", ")})` : ""));
    controls.filter(control => control.type === "range").forEach(function (control) {
      control.setAttribute("aria-valuetext", words(control));
      control.closest("[data-row]").querySelector("output").textContent = words(control);
    });
    asked = asked || requestAnimationFrame(draw);
  }
  function back() {
    [base, u, drawn] = [model.start, uniforms(model.seed), 0];
    controls.forEach(function (control) {
      if (control.type === "range") { control.value = 0; } else { control.selectedIndex = 0; }
    });
    show();
  }
  controls.forEach(control => control.addEventListener("input", show));
  button("back").addEventListener("click", back);
  if (button("noise")) {
    button("noise").addEventListener("click", function () {
      base = base.slice();
      model.noise.forEach(i => { base[i] = normal(u); });
      drawn += 1;
      show();
    });
  }
  figure.live = { generated, vector }; // for whoever wants to look inside
  figure.querySelector("img").style.display = "none";
  figure.querySelector("[data-live]").hidden = false;
  back();
  cancelAnimationFrame(asked);
  draw();
});
