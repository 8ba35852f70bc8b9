// The ledger's filters: menus and words choose which claims are shown. What is chosen stands in the address, so that a
// link can point to, say, all that was contradicted.
window.addEventListener("load", function () {
  var form = document.querySelector(".medgan-filters");
  if (!form) { return; }
  form.hidden = false;
  var menus = Array.from(form.querySelectorAll("select"));
  var words = form.elements.words;
  var claims = Array.from(document.querySelectorAll(".medgan-claim"));
  var texts = claims.map(function (claim) { return claim.textContent.toLowerCase(); });
  var sections = Array.from(document.querySelectorAll("section")).filter(function (section) {
    return section.querySelector(":scope > .medgan-claim");
  });

  function show() {
    var wanted = words.value.toLowerCase().trim().split(/\s+/);
    var shown = 0;
    claims.forEach(function (claim, i) {
      var fits = menus.every(function (menu) { return !menu.value || claim.classList.contains(menu.value); })
        && wanted.every(function (word) { return texts[i].includes(word); });
      claim.hidden = !fits;
      shown += fits;
    });
    sections.forEach(function (section) { section.hidden = !section.querySelector(".medgan-claim:not([hidden])"); });
    form.querySelector("output").textContent = shown + " of " + claims.length + " claims and checks";
  }

  function remember() {
    var chosen = new URLSearchParams();
    menus.concat(words).forEach(function (field) { if (field.value) { chosen.set(field.name, field.value); } });
    var query = chosen.toString();
    try { history.replaceState(null, "", location.pathname + (query ? "?" + query : "") + location.hash); }
    catch (error) { /* pages opened from a disk may not change their address; the filters work all the same */ }
  }

  new URLSearchParams(location.search).forEach(function (value, name) {
    if (form.elements[name]) { form.elements[name].value = value; }
  });
  form.addEventListener("submit", function (event) { event.preventDefault(); });
  form.addEventListener("input", function () { show(); remember(); });
  form.addEventListener("reset", function () { setTimeout(function () { show(); remember(); }); });
  // A link to one claim must find it, whatever is chosen.
  function find() {
    var target = location.hash && document.getElementById(location.hash.slice(1));
    if (target && target.closest("[hidden]")) {
      form.reset();
      setTimeout(function () { target.scrollIntoView(); });
    }
  }
  window.addEventListener("hashchange", find);
  show();
  find();
});
