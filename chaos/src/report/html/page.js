"use strict";
// Adds to a page that is whole without it: a crosshair with the values of its column, and buttons that copy.
// Values come from the titles of the strips and go back in as text, never as markup.
(function () {
  function element(tag, text) {
    const made = document.createElement(tag);
    made.textContent = text;
    return made;
  }

  function tell(readout, title) {
    const lines = title.split("\n");
    readout.replaceChildren(element("p", lines.shift()));
    lines.forEach(function (line) {
      const at = line.lastIndexOf(": ");
      const row = document.createElement("div");
      row.append(element("span", line.slice(0, at)), element("span", line.slice(at + 2)));
      readout.append(row);
    });
  }

  document.querySelectorAll(".timeline").forEach(function (figure) {
    const over = figure.querySelector(".over");
    const cross = figure.querySelector(".cross");
    const readout = figure.querySelector(".readout");
    const strips = Array.from(figure.querySelectorAll(".over rect"));
    if (strips.length === 0) { return; }
    // Taken out, or the browser would show its own beside ours.
    const titles = strips.map(function (strip) {
      const title = strip.querySelector("title");
      title.remove();
      return title.textContent;
    });
    const starts = strips.map(function (strip) { return strip.x.baseVal.value / 1000; });
    const last = strips[strips.length - 1];
    const end = starts[starts.length - 1] + last.width.baseVal.value / 1000;
    let now = -1;

    function show(column) {
      now = column;
      const box = over.getBoundingClientRect();
      const outer = figure.getBoundingClientRect();
      const next = column + 1 === starts.length ? end : starts[column + 1];
      const middle = (starts[column] + next) / 2 * box.width;
      cross.style.left = middle + "px";
      cross.hidden = false;
      tell(readout, titles[column]);
      readout.hidden = false;
      if (getComputedStyle(readout).position === "static") { return; }
      const x = box.left - outer.left + middle;
      const fits = outer.width - x > readout.offsetWidth + 24;
      readout.style.left = (fits ? x + 14 : x - 14 - readout.offsetWidth) + "px";
      readout.style.top = "2.4rem";
    }

    function hide() {
      now = -1;
      cross.hidden = true;
      readout.hidden = true;
    }

    function point(event) {
      const box = over.getBoundingClientRect();
      const x = (event.clientX - box.left) / box.width;
      if (x >= end) { hide(); return; }
      const later = starts.findIndex(function (start) { return start > x; });
      const column = later === -1 ? starts.length - 1 : Math.max(0, later - 1);
      if (column !== now) { show(column); }
    }

    over.addEventListener("pointermove", point);
    over.addEventListener("pointerdown", point);
    over.addEventListener("pointerleave", function (event) {
      if (event.pointerType === "mouse") { hide(); }
    });
    over.tabIndex = 0;
    over.setAttribute("role", "group");
    over.setAttribute("aria-label", "Values over time; the arrow keys move from column to column");
    readout.setAttribute("role", "status");
    over.addEventListener("blur", hide);
    over.addEventListener("keydown", function (event) {
      const steps = { ArrowRight: 1, ArrowLeft: -1, PageDown: 10, PageUp: -10, Home: -1e9, End: 1e9 };
      if (event.key === "Escape") { hide(); return; }
      if (!Object.hasOwn(steps, event.key)) { return; }
      event.preventDefault();
      show(Math.min(starts.length - 1, Math.max(0, now + steps[event.key])));
    });
  });

  function select(code) {
    const range = document.createRange();
    range.selectNodeContents(code);
    getSelection().removeAllRanges();
    getSelection().addRange(range);
  }

  document.querySelectorAll("button.copy").forEach(function (button) {
    const code = button.parentElement.querySelector("code");
    button.hidden = false;
    button.addEventListener("click", function () {
      function say(word) {
        button.textContent = word;
        setTimeout(function () { button.textContent = "Copy"; }, 1600);
      }
      select(code);
      // Not every browser lets a page from a file write the clipboard; then the text is at least selected.
      if (!navigator.clipboard) { say(document.execCommand("copy") ? "Copied" : "Selected"); return; }
      navigator.clipboard.writeText(code.textContent).then(
        function () { say("Copied"); },
        function () { say("Selected"); }
      );
    });
  });

  function unfold() {
    const target = document.getElementById(location.hash.slice(1));
    const fold = target ? target.closest("details.run") : null;
    if (!fold) { return; }
    fold.open = true;
    target.scrollIntoView();
  }
  addEventListener("hashchange", unfold);
  unfold();

  addEventListener("beforeprint", function () {
    document.querySelectorAll("details").forEach(function (fold) { fold.open = true; });
  });
})();
