// The dialog that tells all of an item, and why it is in an answer.

import { getItem } from "/page/api.js";
import { $, icon, make, picture, titleOf } from "/page/elements.js";
import { verdicts } from "/page/cards.js";

export async function showDetails(match, pictures, on) {
  const dialog = $("details");
  const title = titleOf(match.id, match.attributes);
  const act = (text, does, strong = "") => make("button", { classes: `button ${strong}`, type: "button", text,
    onclick: () => { dialog.close(); does(match); } });
  const inside = make("div", { classes: "inside" },
    make("h2", { id: "details-title", text: title }),
    make("button", { classes: "act close", type: "button", "aria-label": "Close", onclick: () => dialog.close() }, icon("close")),
    make("div", { classes: "go" }, act("What looks like this", on.open, "strong"), act("More like this", on.like), act("Less like this", on.unlike)));
  if (match.why) inside.append(await why(match, pictures));
  inside.append(facts(match));
  dialog.replaceChildren(inside);
  dialog.showModal();
}

async function why(match, pictures) {
  const thumbnails = new Map();
  for (const id of new Set(match.why.parts.filter((part) => part.picture !== null).map((part) => part.asked))) {
    try {
      for (const each of (await getItem(id)).pictures) thumbnails.set(id + "\n" + each.picture, each.thumbnail);
    } catch { /* the item has left the catalogue in the meantime */ }
  }
  const meetings = match.why.parts.map((part) => {
    const source = part.kind === "picture" ? pictures.find((each) => each.name === part.asked)?.url
      : thumbnails.get(part.asked + "\n" + part.picture);
    const asked = source ? picture(source, part.asked, { lazy: false }).firstChild : make("p", { classes: "words", text: `“${part.asked}”` });
    const weight = part.weight === 1 ? "" : `, weight ${part.weight}`;
    const text = part.kind === "not" ? `to move away from ${part.asked}${weight}` : `the picture that is most like ${part.kind === "text" ? "these words" : part.asked}${weight}`;
    return make("li", { classes: "meeting" },
      picture(match.thumbnail, match.id, { lazy: false }).firstChild,
      make("span", { classes: "cos", text: part.score.toFixed(2) }), asked, make("span", { classes: "soft", text }));
  });
  const said = verdicts(match.why);
  return make("section", {}, make("h3", { text: "Why it is here" }), make("ul", { classes: "met" }, ...meetings),
    said.length ? make("p", { classes: "notes" }, ...said.map((text) => make("span", { text }))) : null);
}

function facts(match) {
  const shared = match.why?.shared ?? {};
  const entries = Object.entries({ id: match.id, ...match.attributes }).filter(([, value]) => value !== null);
  const list = make("dl");
  for (const [name, value] of entries) {
    list.append(make("dt", { text: name.replaceAll("_", " ") }),
      make("dd", { classes: name in shared ? "shared" : "", text: typeof value === "boolean" ? (value ? "yes" : "no") : String(value),
        title: name in shared ? "the same as of what you asked for" : null }));
  }
  return make("section", {}, make("h3", { text: "Attributes" }), list);
}
