// The keys of the page: arrows move among the cards, letters act on the one that has the focus, / goes to the search.

import { $ } from "./elements.js";

// Call `onact` with the id of an item and "like", "dislike" or "details".
export function listenToKeys(onact) {
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || document.querySelector("dialog[open]")) return;
    const isTyping = event.target.matches("input, textarea, select");
    if (event.key === "/" && !isTyping) { event.preventDefault(); $("search").focus(); $("search").select(); return; }
    if (event.key === "Escape" && event.target === $("search")) { $("search").blur(); return; }
    if (isTyping && event.target !== $("search")) return;
    const cards = [...document.querySelectorAll(".card .open")];
    if (event.target === $("search")) { if (event.key === "ArrowDown" && cards.length) { event.preventDefault(); cards[0].focus(); } return; }
    const at = cards.indexOf(event.target.closest(".card")?.querySelector(".open"));
    const columns = getComputedStyle($("grid")).gridTemplateColumns.split(" ").length;
    const step = { ArrowRight: 1, ArrowLeft: -1, ArrowDown: columns, ArrowUp: -columns }[event.key];
    if (step && cards.length) {
      event.preventDefault();
      cards[at < 0 ? 0 : Math.max(0, Math.min(cards.length - 1, at + step))].focus();
    } else if (at >= 0 && "+-i".includes(event.key)) {
      onact(cards[at].closest(".card").dataset.id, { "+": "like", "-": "dislike", i: "details" }[event.key]);
    }
  });
}
