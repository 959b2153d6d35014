"use strict";
// Search in what is on the page: items without the words are hidden, folded ones with them are opened.
const box = document.querySelector("input[type=search]");
const told = document.querySelector("output");
const items = Array.from(document.querySelectorAll(".item"));
const opened = new Set();
let texts = null;
let waiting = 0;

function find(words) {
  texts ??= items.map((item) => item.textContent.toLowerCase());
  let hits = 0;
  items.forEach((item, index) => {
    const hit = !words || texts[index].includes(words);
    item.hidden = !hit;
    hits += hit;
    const folded = item.querySelector("details");
    if (!folded) return;
    if (words && hit && !folded.open) {
      folded.open = true;
      opened.add(folded);
    } else if ((!words || !hit) && opened.delete(folded)) {
      folded.open = false;
    }
  });
  for (const turn of document.querySelectorAll(".turn")) turn.hidden = !turn.querySelector(".item:not([hidden])");
  told.textContent = words ? `${hits} of ${items.length}` : "";
  mark(words);
}

function mark(words) {
  if (!globalThis.CSS?.highlights) return;
  CSS.highlights.delete("found");
  if (!words) return;
  const ranges = [];
  for (const item of items) {
    if (item.hidden) continue;
    const walker = document.createTreeWalker(item, NodeFilter.SHOW_TEXT);
    while (walker.nextNode() && ranges.length < 5000) {
      const text = walker.currentNode.data;
      const low = text.toLowerCase();
      if (low.length !== text.length) continue;
      for (let at = low.indexOf(words); at >= 0 && ranges.length < 5000; at = low.indexOf(words, at + words.length)) {
        const range = new Range();
        range.setStart(walker.currentNode, at);
        range.setEnd(walker.currentNode, at + words.length);
        ranges.push(range);
      }
    }
  }
  CSS.highlights.set("found", new Highlight(...ranges));
}

box.addEventListener("input", () => {
  clearTimeout(waiting);
  waiting = setTimeout(() => find(box.value.trim().toLowerCase()), 80);
});
document.addEventListener("keydown", (event) => {
  if (event.key === "/" && document.activeElement !== box) {
    event.preventDefault();
    box.focus();
  } else if (event.key === "Escape" && box.value) {
    box.value = "";
    find("");
  }
});
const unfold = document.querySelector("button");
unfold?.addEventListener("click", () => {
  const open = unfold.getAttribute("aria-pressed") !== "true";
  for (const folded of document.querySelectorAll("details")) folded.open = open;
  opened.clear();
  unfold.setAttribute("aria-pressed", String(open));
  unfold.textContent = open ? "Fold all" : "Unfold all";
});
