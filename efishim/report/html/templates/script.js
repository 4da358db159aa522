"use strict";
(function () {
  // Search and filters. Everything is there without them.
  function setup(form) {
    var place = document.getElementById(form.dataset.for);
    if (!place) return;
    var rows = Array.prototype.slice.call(place.querySelectorAll("tbody tr"));
    var texts = null;
    var search = form.querySelector("input[type=search]");
    var boxes = Array.prototype.slice.call(form.querySelectorAll("input[type=checkbox]"));
    var output = form.querySelector("output");
    function has(row, box) {
      return box.dataset.group ? row.dataset.side === box.value : (row.dataset.k || "").split(" ").indexOf(box.value) >= 0;
    }
    function any(row, some) {
      var asked = boxes.filter(some);
      return !asked.length || asked.some(function (box) { return box.checked && has(row, box); });
    }
    function apply() {
      texts = texts || rows.map(function (row) { return row.textContent.toLowerCase(); });
      var words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
      var shown = 0;
      rows.forEach(function (row, index) {
        var good = words.every(function (word) { return texts[index].indexOf(word) >= 0; }) &&
          boxes.every(function (box) { return !("only" in box.dataset) || !box.checked || has(row, box); }) &&
          any(row, function (box) { return !("only" in box.dataset) && !box.dataset.group; }) &&
          any(row, function (box) { return box.dataset.group; });
        row.hidden = !good;
        if (good) shown += 1;
      });
      output.textContent = shown + " of " + rows.length;
      Array.prototype.forEach.call(place.querySelectorAll("details"), function (one) {
        var some = one.querySelector("tbody tr:not([hidden])");
        one.hidden = !some;
        if (words.length && some) one.open = true;
      });
    }
    form.hidden = false;
    form.addEventListener("submit", function (event) { event.preventDefault(); });
    form.addEventListener("input", apply);
  }
  Array.prototype.forEach.call(document.querySelectorAll("form.filter"), setup);

  var pick = document.getElementById("pick");
  if (pick) {
    pick.closest("p").hidden = false;
    pick.addEventListener("change", function () {
      Array.prototype.forEach.call(document.querySelectorAll("details.pair"), function (one) {
        one.hidden = pick.value !== "" && one.id !== pick.value;
        one.open = pick.value !== "" && one.id === pick.value;
      });
    });
  }

  // A link to something that is folded away opens it.
  function reveal() {
    var target = location.hash.length > 1 && document.getElementById(location.hash.slice(1));
    if (target && target.tagName === "DETAILS") {
      target.hidden = false;
      target.open = true;
      target.scrollIntoView();
    }
  }
  window.addEventListener("hashchange", reveal);
  reveal();
}());
