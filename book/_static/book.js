// Wide tables, equations and outputs scroll by themselves, never the page, and can be reached by keyboard.
window.addEventListener("load", function () {
  // Sphinx calls the bibliography a list, but its entries no list items.
  document.querySelectorAll(".citation-list[role=list]").forEach(function (list) { list.removeAttribute("role"); });
  function mark() {
    document.querySelectorAll(".bd-article *").forEach(function (box) {
      var scrolls = /(auto|scroll)/.test(getComputedStyle(box).overflowX) && box.scrollWidth > box.clientWidth + 1;
      if (scrolls && !box.hasAttribute("tabindex")) { box.setAttribute("tabindex", "0"); }
    });
  }
  (window.MathJax && MathJax.startup ? MathJax.startup.promise : Promise.resolve()).then(mark);
  window.addEventListener("resize", mark);
});
