// The cards of the grid.

import { icon, make, picture, priceOf, summaryOf, titleOf } from "/page/elements.js";

// match: an item of a list, or a match with its score; on: what happens when the card is used.
export function card(match, state, on) {
  const title = titleOf(match.id, match.attributes);
  const isLiked = state.likes.includes(match.id);
  const isDisliked = state.dislikes.includes(match.id);
  return make("li", { classes: "card", "data-id": match.id },
    picture(match.thumbnail, title),
    make("button", { classes: "open", type: "button", "aria-label": `What looks like ${title}`, onclick: () => on.open(match) }),
    make("div", { classes: "acts" },
      act("like", "More like this", isLiked, () => on.like(match)),
      act("dislike", "Less like this", isDisliked, () => on.dislike(match), "no"),
      act("info", "Details", null, () => on.details(match))),
    make("div", { classes: "text" },
      make("p", { classes: "name", text: title }),
      make("p", { classes: "line" },
        make("span", { text: summaryOf(match.attributes) || (title === match.id ? "" : match.id) }),
        make("b", { text: priceOf(match.attributes) })),
      match.score === undefined ? null : score(match, on),
      notes(match.explanation)));
}

function act(name, label, pressed, onclick, classes = "") {
  return make("button", { classes: `act ${classes}`, type: "button", title: label, "aria-label": label,
    "aria-pressed": pressed === null ? null : String(pressed), onclick }, icon(name));
}

function score(match, on) {
  const bar = make("i");
  bar.style.width = `${Math.max(0, Math.min(1, match.score)) * 100}%`;
  return make("button", { classes: "score", type: "button", title: "Why is this here?", onclick: () => on.details(match),
    "aria-label": `Similarity ${match.score.toFixed(2)}, why?` },
    make("span", { text: match.score.toFixed(2) }), make("span", { classes: "bar" }, bar), make("span", { text: "why" }));
}

export function verdicts(explanation) {
  if (!explanation) return [];
  const moves = explanation.effects.map((effect) => effect.position ? `pinned by ${effect.rule}` : `${effect.score_delta > 0 ? "boosted" : "buried"} by ${effect.rule}`);
  return [...moves, ...explanation.relaxed.map((name) => `relaxed ${name}`)];
}

function notes(explanation) {
  const said = verdicts(explanation);
  return said.length ? make("p", { classes: "notes" }, ...said.map((text) => make("span", { text }))) : null;
}
