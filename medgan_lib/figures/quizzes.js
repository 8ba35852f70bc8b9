document.querySelectorAll('[data-quiz="NAME"]:not([data-ready])').forEach(function (quiz) {
  quiz.setAttribute("data-ready", "");
  var real = JSON.parse(quiz.getAttribute("data-real")), tiles = quiz.querySelectorAll("[data-tile]");
  var output = quiz.querySelector("output"), row = quiz.querySelector("[data-buttons]");
  var buttons = row.querySelectorAll("button"), observer = quiz.getAttribute("data-observer"), answers = [];
  function word(k) { return real[k] ? "real" : "generated"; }
  function percent(share) { return Math.round(100 * share); }
  function result() {
    var n = real.length, right = 0, made = 0, fooled = 0, z = 1.96;
    answers.forEach(function (answer, k) {
      right += answer === real[k] ? 1 : 0;
      made += 1 - real[k];
      fooled += answer && !real[k] ? 1 : 0;
    });
    var middle = (right + z * z / 2) / (n + z * z);
    var half = z / (n + z * z) * Math.sqrt(right * (n - right) / n + z * z / 4);
    var coin = middle - half > 0.5 ? "better than" : middle + half < 0.5 ? "worse than" : "not to be told from";
    return right + " of " + n + " right: " + percent(right / n) + " % (95 % interval " + percent(middle - half) +
      " to " + percent(middle + half) + " %), " + coin + " tossing a coin. You took " + fooled + " of " + made +
      " generated images for real." + (observer === null ? "" : " The trained observer has " +
      percent(Number(observer)) + " % of these images right.");
  }
  function show() {
    var at = answers.length, n = real.length, done = at === n;
    tiles.forEach(function (tile, k) {
      tile.style.display = done || k === at ? "inline-block" : "none";
      tile.style.width = done ? "18%" : "min(336px, 96%)";
      tile.lastElementChild.textContent = done ? (answers[k] === real[k] ? "✓ " : "✗ ") + word(k) : "";
    });
    var last = !at ? "" : (answers[at - 1] === real[at - 1] ? "Right" : "Wrong") + ", that was " + word(at - 1) + ". ";
    output.textContent = last + (done ? result() : "Image " + (at + 1) + " of " + n + ": real or generated?");
    buttons.forEach(function (button, k) { button.style.display = done === (k === 2) ? "" : "none"; });
  }
  function answer(value) {
    answers.push(value);
    show();
    if (answers.length === real.length) { buttons[2].focus(); }
  }
  buttons[0].addEventListener("click", function () { answer(1); });
  buttons[1].addEventListener("click", function () { answer(0); });
  buttons[2].addEventListener("click", function () { answers = []; show(); buttons[0].focus(); });
  quiz.querySelector("details").style.display = "none";
  row.hidden = false;
  show();
});
