// Items: the cards of the grid, and the dialog with the details of an item and why it is in the answer.
//
// A match is an item of a list, or a match with a score. `actions` are what happens when a card is used.

import { getItem } from "/page/api.js";
import { $, icon, labelOf, make, picture, priceOf, summaryOf, tile, titleOf } from "/page/elements.js";

export function card(match, state, actions) {
  const title = titleOf(match.id, match.attributes);
  const isLiked = state.likes.includes(match.id);
  const isDisliked = state.dislikes.includes(match.id);
  return make("li", { classes: "card", "data-id": match.id },
    tile(match.thumbnail, title),
    make("button", { classes: "open", type: "button", "aria-label": `What looks like ${title}`, onclick: () => actions.open(match) }),
    make("div", { classes: "actions" },
      action("like", "More like this", isLiked, () => actions.like(match)),
      action("dislike", "Less like this", isDisliked, () => actions.dislike(match), "negative"),
      action("info", "Details", null, () => actions.details(match))),
    make("div", { classes: "text" },
      make("p", { classes: "name", text: title }),
      make("p", { classes: "line" },
        make("span", { text: summaryOf(match.attributes) || (title === match.id ? "" : match.id) }),
        make("b", { text: priceOf(match.attributes) })),
      match.score === undefined ? null : scoreBar(match, actions),
      effectNotes(match.explanation)));
}

function action(name, label, pressed, onclick, classes = "") {
  return make("button", { classes: `action ${classes}`, type: "button", title: label, "aria-label": label,
    "aria-pressed": pressed === null ? null : String(pressed), onclick }, icon(name));
}

function scoreBar(match, actions) {
  const bar = make("i");
  bar.style.width = `${Math.max(0, Math.min(1, match.score)) * 100}%`;
  return make("button", { classes: "score", type: "button", title: "Why is this here?", onclick: () => actions.details(match),
    "aria-label": `Similarity ${match.score.toFixed(2)}, why?` },
    make("span", { text: match.score.toFixed(2) }), make("span", { classes: "bar" }, bar), make("span", { text: "why" }));
}

// What the rules of the shop did to a match.
function effectNotes(explanation) {
  if (!explanation) return null;
  const texts = explanation.effects.map((effect) => effect.position ? `pinned by ${effect.rule}`
    : `${effect.score_delta > 0 ? "boosted" : "buried"} by ${effect.rule}`);
  for (const name of explanation.relaxed) texts.push(`relaxed ${name}`);
  return texts.length ? make("p", { classes: "notes" }, ...texts.map((text) => make("span", { text }))) : null;
}

export async function showDetails(match, images, actions) {
  const dialog = $("details");
  const title = titleOf(match.id, match.attributes);
  const button = (text, act, classes = "") => make("button", { classes: `button ${classes}`, type: "button", text,
    onclick: () => { dialog.close(); act(match); } });
  const content = make("div", { classes: "content" },
    make("h2", { id: "details-title", text: title }),
    make("button", { classes: "action close", type: "button", "aria-label": "Close", onclick: () => dialog.close() }, icon("close")),
    make("div", { classes: "buttons" },
      button("What looks like this", actions.open, "strong"),
      button("More like this", actions.like),
      button("Less like this", actions.dislike)));
  if (match.explanation) content.append(await explanationSection(match, images));
  content.append(attributeSection(match));
  dialog.replaceChildren(content);
  dialog.showModal();
}

async function explanationSection(match, images) {
  const { terms } = match.explanation;
  const thumbnails = new Map(); // of the images of query items
  for (const id of new Set(terms.filter((term) => term.image !== null).map((term) => term.query))) {
    try {
      for (const each of (await getItem(id)).images) thumbnails.set(id + "\n" + each.image, each.thumbnail);
    } catch { /* the item has left the catalog in the meantime */ }
  }
  const rows = terms.map((term) => {
    const source = term.kind === "image" ? images.find((each) => each.name === term.query)?.url
      : thumbnails.get(term.query + "\n" + term.image);
    return make("li", { classes: "term" },
      picture(match.thumbnail, match.id, { lazy: false }),
      make("span", { classes: "cosine", text: term.score.toFixed(2) }),
      source ? picture(source, term.query, { lazy: false }) : make("p", { classes: "quote", text: `“${term.query}”` }),
      make("span", { classes: "soft", text: termText(term) }));
  });
  return make("section", {},
    make("h3", { text: "Why it is here" }), make("ul", { classes: "terms" }, ...rows), effectNotes(match.explanation));
}

function termText(term) {
  const weight = term.weight === 1 ? "" : `, weight ${term.weight}`;
  if (term.kind === "negative") return `to move away from ${term.query}${weight}`;
  if (term.kind === "text") return `how well the image fits this text${weight}`;
  return `the image that is most like ${term.query}${weight}`;
}

function attributeSection(match) {
  const shared = match.explanation?.shared ?? {};
  const list = make("dl");
  for (const [name, value] of Object.entries({ id: match.id, ...match.attributes })) {
    if (value === null) continue;
    const text = typeof value === "boolean" ? (value ? "yes" : "no") : String(value);
    list.append(make("dt", { text: labelOf(name) }),
      make("dd", { classes: name in shared ? "shared" : "", text, title: name in shared ? "the same as in your query" : null }));
  }
  return make("section", {}, make("h3", { text: "Attributes" }), list);
}
