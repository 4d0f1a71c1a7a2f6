// The cards of the grid. A match is an item of a list, or a match with a score; `actions` are what happens with a card.

import { badgesOf, colorOf, count, cssColor, groupOf, isSoldOut, money, pricesOf, subtitleOf, titleOf } from "./attributes.js";
import { iconButton, make, picture, sized, tile } from "./elements.js";

const SWATCHES = 5;

export function card(match, state, actions, variants = []) {
  const title = titleOf(match.id, match.attributes);
  const isLiked = state.likes.includes(match.id), isDisliked = state.dislikes.includes(match.id);
  const image = tile(match.cover ?? match.thumbnail, title);
  const onmeet = match.cover && match.thumbnail && match.cover !== match.thumbnail ? () => showMet(image, match.thumbnail) : null;
  return make("li", { classes: `card ${isSoldOut(match.attributes) ? "sold-out" : ""}`, "data-id": match.id,
    ...(onmeet ? { onpointerenter: onmeet, onfocusin: onmeet } : {}) },
    image,
    badges(match.attributes),
    make("button", { classes: "open", type: "button", "aria-label": `What looks like ${title}`, onclick: () => actions.open(match) }),
    make("div", { classes: "actions" },
      iconButton("like", "More like this", () => actions.like(match), { pressed: isLiked }),
      iconButton("dislike", "Less like this", () => actions.dislike(match), { classes: "action negative", pressed: isDisliked }),
      iconButton("info", "Details", () => actions.details(match))),
    make("div", { classes: "text" },
      make("p", { classes: "name", text: title, title }),
      make("p", { classes: "soft summary", text: subtitleOf(match.id, match.attributes) }),
      swatches(match, variants, (variant) => actions.swap(match, variant)),
      foot(match, actions),
      effectNotes(match.explanation)));
}

function foot(match, actions) {
  if (pricesOf(match.attributes).now === null && match.score === undefined) return null;
  return make("div", { classes: "foot" }, priceLine(match.attributes), match.score === undefined ? null : scoreButton(match, actions));
}

// The cover of every card shows the same kind of view; the image that met the query comes with the pointer or the focus.
function showMet(tileOfCard, thumbnail) {
  if (!tileOfCard.querySelector(".met")) tileOfCard.append(make("img", { classes: "met", alt: "", draggable: "false", src: sized(thumbnail, 320) }));
}

export function badges(attributes) {
  const shown = badgesOf(attributes).map(({ kind, text }) => make("span", { classes: kind, text }));
  return shown.length ? make("p", { classes: "badges" }, ...shown) : null;
}

export function priceLine(attributes) {
  const { now, before } = pricesOf(attributes);
  if (now === null) return make("p", { classes: "price" });
  return make("p", { classes: "price" },
    make("b", { text: money(now, attributes.currency) }),
    before === null ? null : make("s", { text: money(before, attributes.currency), "aria-label": `before ${money(before, attributes.currency)}` }));
}

// The colors in which there is an item: its variants, of which a click shows another one. The place is kept free for them.
export function swatches(match, variants, onswap, most = SWATCHES) {
  if (groupOf(match.attributes) === null) return null;
  const looks = new Map(); // a color, or the image of a variant without one -> the variant that stands for it: the shown one for its own
  const known = variants.some((each) => each.id === match.id) ? variants : [...variants, match];
  for (const each of known) if (!looks.has(lookOf(each)) || each.id === match.id) looks.set(lookOf(each), each);
  const shown = looks.size > 1 ? [...looks.values()].slice(0, most) : [];
  if (shown.length && !shown.some((each) => each.id === match.id)) shown[shown.length - 1] = match;
  const row = make("div", { classes: "swatches", role: shown.length ? "group" : null, "aria-label": shown.length ? "Variants" : null },
    ...shown.map((variant) => swatch(variant, variant.id === match.id, onswap)));
  if (looks.size > most) row.append(make("small", { classes: "soft", text: `+${looks.size - most}`, title: count(looks.size, "color") }));
  return row;
}

const lookOf = (variant) => String(colorOf(variant.attributes)).toLowerCase().trim() || (variant.cover ?? variant.thumbnail ?? variant.id);

function swatch(variant, isShown, onswap) {
  const color = cssColor(colorOf(variant.attributes));
  const label = String(colorOf(variant.attributes) || titleOf(variant.id, variant.attributes));
  const button = make("button", { classes: "swatch", type: "button", title: label, "aria-label": label, "aria-pressed": String(isShown),
    "data-key": `swatch ${variant.id}`, onclick: () => onswap(variant) });
  if (color) button.style.setProperty("--swatch", color);
  else if (variant.thumbnail) button.append(picture(variant.cover ?? variant.thumbnail, "", { side: 160 }));
  return button;
}

function scoreButton(match, actions) {
  const bar = make("i");
  bar.style.width = `${Math.max(0, Math.min(1, match.score)) * 100}%`;
  return make("button", { classes: "score", type: "button", title: "Why is this here?", onclick: () => actions.details(match),
    "aria-label": `Similarity ${match.score.toFixed(2)}, why?` },
    make("span", { classes: "bar" }, bar), make("span", { text: match.score.toFixed(2) }));
}

// What the rules of the shop did to a match.
export function effectNotes(explanation) {
  if (!explanation) return null;
  const texts = explanation.effects.map((effect) => effect.position ? `pinned by ${effect.rule}`
    : `${effect.score_delta > 0 ? "boosted" : "buried"} by ${effect.rule}`);
  for (const name of explanation.relaxed) texts.push(`relaxed ${name}`);
  return texts.length ? make("p", { classes: "notes" }, ...texts.map((text) => make("span", { text }))) : null;
}
