// A GAN in the plane: D (2-32-32-1) and G (2-16-16-2) with leaky ReLU, gradients by hand. A layer maps x to W x + b.
// Arrays of points are flat: x0 y0 x1 y1 ...
window.medganPlayground = (function () {
  const LEAK = 0.2, LAMBDA = 10, CLIP = 0.01;
  const leaky = v => (v > 0 ? v : LEAK * v), softplus = l => Math.max(l, 0) + Math.log1p(Math.exp(-Math.abs(l)));
  const sigmoid = l => 1 / (1 + Math.exp(-l)), array = (n, make) => Float64Array.from({ length: n }, make);

  // What is averaged over logits l, and its slope: of D on real points, of D on generated ones, of G.
  const isReal = [l => softplus(-l), l => sigmoid(l) - 1], isFake = [softplus, sigmoid];
  const toOne = [l => (l - 1) ** 2, l => 2 * (l - 1)], toZero = [l => l * l, l => 2 * l];
  const high = [l => -l, () => -1], low = [l => l, () => 1];
  const LOSSES = {
    "gan": [isReal, isFake, [l => -softplus(l), l => -sigmoid(l)]], "gan-ma": [isReal, isFake, isReal],
    "lsgan": [toOne, toZero, toOne], "wgan": [high, low, high], "wgan-gp": [high, low, high],
  };

  // Random numbers: mulberry32, and Box and Muller's normal ones.
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
  const zeros = net => net.map(layer => ({ W: new Float64Array(layer.W.length), b: new Float64Array(layer.outs) }));
  function network(sizes, u) {
    const net = sizes.slice(1).map(function (outs, l) {
      const ins = sizes[l], W = array(ins * outs, () => 1.4 * normal(u) / Math.sqrt(ins));
      return { ins, outs, W, b: array(outs, () => 0.3 * normal(u)) };
    });
    return Object.assign(net, { steps: 0, m: zeros(net), v: zeros(net) });
  }

  function times({ W, ins, outs }, x, b) { // W x (+ b) for each point
    const n = x.length / ins, y = new Float64Array(n * outs);
    for (let i = 0; i < n; i++) {
      for (let j = 0, w = 0; j < outs; j++) {
        let sum = b ? b[j] : 0;
        for (let k = i * ins; k < (i + 1) * ins; k++) { sum += W[w++] * x[k]; }
        y[i * outs + j] = sum;
      }
    }
    return y;
  }
  function transposed({ W, ins, outs }, d) { // W^T d for each point
    const n = d.length / outs, y = new Float64Array(n * ins);
    for (let i = 0; i < n; i++) {
      for (let j = 0, w = 0; j < outs; j++) {
        for (let k = i * ins; k < (i + 1) * ins; k++) { y[k] += W[w++] * d[i * outs + j]; }
      }
    }
    return y;
  }
  const through = (d, a) => d.map((v, i) => (a[i] > 0 ? v : LEAK * v)); // the slope of leaky ReLU, by its output
  function forward(net, x) { // the activations a, from a[0] = x to the output
    const a = [x];
    net.forEach((layer, l) => { const y = times(layer, a[l], layer.b); a.push(l < 2 ? y.map(leaky) : y); });
    return a;
  }
  function backward(net, a, last) { // d[l] = dL/d(input of layer l), before the leaky ReLU that made it
    const d = [];
    d[3] = last;
    for (let l = 2; l >= 0; l--) {
      d[l] = transposed(net[l], d[l + 1]);
      if (l) { d[l] = through(d[l], a[l]); }
    }
    return d;
  }
  function collect(grad, net, d, a, withBias) { // adds the sums of d a^T (and of d) to the gradient
    net.forEach(function ({ ins, outs }, l) {
      const { W, b } = grad[l], x = a[l], e = d[l + 1];
      for (let i = 0; i * ins < x.length; i++) {
        for (let j = 0, w = 0; j < outs; j++) {
          const s = e[i * outs + j];
          if (withBias) { b[j] += s; }
          for (let k = i * ins; k < (i + 1) * ins; k++) { W[w++] += s * x[k]; }
        }
      }
    });
  }
  const mean = (f, l) => l.reduce((sum, v) => sum + f(v), 0) / l.length;
  function gradientsD(D, real, fake, objective, epsilon) {
    const grad = zeros(D);
    let loss = 0;
    [real, fake].forEach(function (x, which) {
      const [value, slope] = LOSSES[objective][which], a = forward(D, x), l = a[3];
      loss += mean(value, l);
      collect(grad, D, backward(D, a, l.map(v => slope(v) / l.length)), a, true);
    });
    return { loss: loss + (objective === "wgan-gp" ? penalty(grad, D, real, fake, epsilon) : 0), grad };
  }
  // Gradient penalty. Between its kinks D is linear, so g = dD/dx is a product of the weights, and so is u . g with
  // u = dL/dg: it is u sent forward through D without biases. Its gradient is made of the same d, and of that way's t.
  function penalty(grad, D, real, fake, epsilon) {
    const n = epsilon.length, a = forward(D, fake.map((v, i) => v + epsilon[i >> 1] * (real[i] - v)));
    const d = backward(D, a, new Float64Array(n).fill(1)), g = d[0];
    const norm = array(n, (_, i) => Math.hypot(g[2 * i], g[2 * i + 1]));
    const t = [g.map((v, i) => 2 * LAMBDA / n * (norm[i >> 1] - 1) * v / (norm[i >> 1] || 1))];
    D.forEach((layer, l) => { t.push(through(times(layer, t[l]), a[l + 1])); });
    collect(grad, D, d, t, false);
    return LAMBDA * mean(v => (v - 1) ** 2, norm);
  }
  function gradientsG(D, G, z, objective) { // dx: dL/dx at each generated point
    const [value, slope] = LOSSES[objective][2], grad = zeros(G), aG = forward(G, z), aD = forward(D, aG[3]), l = aD[3];
    const dx = backward(D, aD, l.map(v => slope(v) / l.length))[0];
    collect(grad, G, backward(G, aG, dx), aG, true);
    return { loss: mean(value, l), grad, dx, x: aG[3] };
  }
  function adam(net, grad, rate, beta1 = 0.5, beta2 = 0.999) {
    const t = ++net.steps;
    net.forEach((layer, l) => ["W", "b"].forEach(function (key) {
      const p = layer[key], g = grad[l][key], m = net.m[l][key], v = net.v[l][key];
      for (let k = 0; k < p.length; k++) {
        m[k] = beta1 * m[k] + (1 - beta1) * g[k];
        v[k] = beta2 * v[k] + (1 - beta2) * g[k] * g[k];
        p[k] -= rate * m[k] / (1 - beta1 ** t) / (Math.sqrt(v[k] / (1 - beta2 ** t)) + 1e-8);
      }
    }));
  }
  function clip(net) {
    const clipped = v => Math.max(-CLIP, Math.min(CLIP, v));
    net.forEach(layer => { layer.W = layer.W.map(clipped); layer.b = layer.b.map(clipped); });
  }
  return { array, sigmoid, mean, uniforms, normal, network, forward, gradientsD, gradientsG, adam, clip };
})();
