document.querySelectorAll('[data-player="NAME"]:not([data-ready])').forEach(function (player) {
  player.setAttribute("data-ready", "");
  var labels = JSON.parse(player.getAttribute("data-labels")), images = player.querySelectorAll("img");
  var slider = player.querySelector("input"), button = player.querySelector("button");
  var output = player.querySelector("output"), timer = null;
  var calm = window.matchMedia && window.matchMedia("(prefers-reduced-motion: reduce)").matches;
  var wait = 1000 / Math.min(Number(player.getAttribute("data-fps")), calm ? 1 : 60);
  function show(i) {
    images.forEach(function (image, k) { image.hidden = k !== i; image.style.display = k === i ? "block" : "none"; });
    slider.value = i;
    slider.setAttribute("aria-valuetext", labels[i]);
    output.textContent = labels[i];
  }
  function play(on) {
    if (timer) { clearInterval(timer); timer = null; }
    output.setAttribute("aria-live", on ? "off" : "polite");
    button.setAttribute("aria-label", on ? "Pause" : "Play");
    button.firstElementChild.textContent = on ? "\u275A\u275A" : "\u25B6\uFE0E";
    if (on) { timer = setInterval(step, wait); }
  }
  function step() {
    var next = Number(slider.value) + 1;
    if (next < labels.length) { show(next); }
    if (next >= labels.length - 1) { play(false); }
  }
  slider.addEventListener("input", function () { play(false); show(Number(slider.value)); });
  button.addEventListener("click", function () {
    if (!timer && Number(slider.value) === labels.length - 1) { show(0); }
    play(!timer);
  });
});
