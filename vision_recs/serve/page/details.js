// The dialog that tells all of an item, and why it is in an answer.

import { getItem } from "/page/api.js";
import { $, icon, make, picture, titleOf } from "/page/elements.js";
import { verdicts } from "/page/cards.js";

export async function showDetails(match, images, on) {
  const dialog = $("details");
  const title = titleOf(match.id, match.attributes);
  const act = (text, does, strong = "") => make("button", { classes: `button ${strong}`, type: "button", text,
    onclick: () => { dialog.close(); does(match); } });
  const inside = make("div", { classes: "inside" },
    make("h2", { id: "details-title", text: title }),
    make("button", { classes: "act close", type: "button", "aria-label": "Close", onclick: () => dialog.close() }, icon("close")),
    make("div", { classes: "go" }, act("What looks like this", on.open, "strong"), act("More like this", on.like), act("Less like this", on.dislike)));
  if (match.explanation) inside.append(await why(match, images));
  inside.append(facts(match));
  dialog.replaceChildren(inside);
  dialog.showModal();
}

async function why(match, images) {
  const thumbnails = new Map();
  for (const id of new Set(match.explanation.terms.filter((part) => part.image !== null).map((part) => part.query))) {
    try {
      for (const each of (await getItem(id)).images) thumbnails.set(id + "\n" + each.image, each.thumbnail);
    } catch { /* the item has left the catalog in the meantime */ }
  }
  const meetings = match.explanation.terms.map((part) => {
    const source = part.kind === "image" ? images.find((each) => each.name === part.query)?.url
      : thumbnails.get(part.query + "\n" + part.image);
    const asked = source ? picture(source, part.query, { lazy: false }).firstChild : make("p", { classes: "words", text: `“${part.query}”` });
    const weight = part.weight === 1 ? "" : `, weight ${part.weight}`;
    const text = part.kind === "negative" ? `to move away from ${part.query}${weight}` : `the image that is most like ${part.kind === "text" ? "these words" : part.query}${weight}`;
    return make("li", { classes: "meeting" },
      picture(match.thumbnail, match.id, { lazy: false }).firstChild,
      make("span", { classes: "cos", text: part.score.toFixed(2) }), asked, make("span", { classes: "soft", text }));
  });
  const said = verdicts(match.explanation);
  return make("section", {}, make("h3", { text: "Why it is here" }), make("ul", { classes: "met" }, ...meetings),
    said.length ? make("p", { classes: "notes" }, ...said.map((text) => make("span", { text }))) : null);
}

function facts(match) {
  const shared = match.explanation?.shared ?? {};
  const entries = Object.entries({ id: match.id, ...match.attributes }).filter(([, value]) => value !== null);
  const list = make("dl");
  for (const [name, value] of entries) {
    list.append(make("dt", { text: name.replaceAll("_", " ") }),
      make("dd", { classes: name in shared ? "shared" : "", text: typeof value === "boolean" ? (value ? "yes" : "no") : String(value),
        title: name in shared ? "the same as of what you asked for" : null }));
  }
  return make("section", {}, make("h3", { text: "Attributes" }), list);
}
