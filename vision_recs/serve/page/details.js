// The view of an item: its images, what it costs and where, its variants, why it is in the answer, and its attributes.

import { getItem } from "./api.js";
import { brandOf, labelOf, productUrl, titleOf, valueText } from "./attributes.js";
import { $, icon, iconButton, make, picture } from "./elements.js";
import { badges, effectNotes, priceLine, swatches } from "./items.js";

const LARGE = 1280, SMALL = 160;
const SHOWN_ABOVE = new Set(["title", "name", "brand", "price", "currency"]); // the list of attributes does not repeat them

// Show `match`; `queryImages` are the files of the query, and `variantsOf` gives the variants of an item.
export async function showDetails(match, queryImages, actions, variantsOf) {
  const dialog = $("details");
  const [item, variants] = await Promise.all([getItem(match.id).catch(() => null), variantsOf(match)]);
  const images = item?.images ?? [{ image: match.image ?? "", thumbnail: match.cover ?? match.thumbnail, attributes: {} }];
  const shown = { ...match, attributes: item?.attributes ?? match.attributes };
  dialog.replaceChildren(
    iconButton("close", "Close", () => dialog.close(), { classes: "action close" }),
    make("div", { classes: "content" },
      gallery(images, titleOf(match.id, shown.attributes), match.score === undefined ? null : match.thumbnail),
      make("div", { classes: "facts" }, ...await facts(shown, images, queryImages, variants, actions))));
  if (!dialog.open) dialog.showModal();
  dialog.scrollTop = 0;
}

async function facts(match, images, queryImages, variants, actions) {
  const { attributes } = match, dialog = $("details");
  const button = (text, act, classes = "") => make("button", { classes: `button ${classes}`, type: "button", text,
    onclick: () => { dialog.close(); act(match); } });
  const url = productUrl(attributes);
  return [
    make("header", {},
      brandOf(attributes) ? make("p", { classes: "brand-name soft", text: brandOf(attributes) }) : null,
      make("h2", { id: "details-title", text: titleOf(match.id, attributes) }),
      make("div", { classes: "offer" }, priceLine(attributes), badges(attributes))),
    swatches(match, variants, (variant) => actions.details(variant), 12),
    url ? make("a", { classes: "button strong", href: url, target: "_blank", rel: "noopener" }, "View in the shop", icon("link")) : null,
    make("div", { classes: "buttons" },
      button("What looks like this", actions.open, url ? "" : "strong"),
      button("More like this", actions.like),
      button("Less like this", actions.dislike)),
    match.explanation ? await explanationSection(match, queryImages) : null,
    attributeSection(match),
  ].filter((each) => each !== null);
}

// The images of an item, one of them large; `met` is the thumbnail of the one that met the query.
function gallery(images, title, met) {
  let at = Math.max(0, images.findIndex((each) => each.thumbnail === met));
  const stage = make("div", { classes: "stage" });
  const caption = make("p", { classes: "soft small", "aria-live": "polite" });
  const thumbs = images.map((each, place) => make("button", { classes: "thumb", type: "button", "aria-label": `Image ${place + 1}`,
    onclick: () => show(place) }, picture(each.thumbnail, "", { lazy: false, side: SMALL })));
  const zoom = iconButton("zoom", "Zoom", () => toggle(), { classes: "action zoom", pressed: false });
  const root = make("div", { classes: "gallery" },
    make("div", { classes: "frame" }, stage,
      images.length > 1 ? iconButton("previous", "Previous image", () => show(at - 1), { classes: "action step previous" }) : null,
      images.length > 1 ? iconButton("next", "Next image", () => show(at + 1), { classes: "action step next" }) : null, zoom),
    images.length > 1 ? make("div", { classes: "thumbs", role: "group", "aria-label": "Images" }, ...thumbs) : null, caption);

  function show(place) {
    at = (place + images.length) % images.length;
    const shown = images[at];
    const view = shown.attributes.view ? `, ${shown.attributes.view}` : "";
    const large = picture(shown.thumbnail, `${title}${view}`, { lazy: false, side: LARGE });
    stage.replaceChildren(large, ...(shown.focus ? [framed(large, shown.focus)] : []));
    stage.classList.remove("zoomed");
    stage.classList.toggle("empty", !shown.thumbnail);
    zoom.hidden = !shown.thumbnail;
    zoom.setAttribute("aria-pressed", "false");
    thumbs.forEach((thumb, number) => thumb.setAttribute("aria-current", String(number === at)));
    caption.textContent = [
      images.length > 1 ? `${at + 1} of ${images.length}${view}` : "",
      images.length > 1 && shown.thumbnail === met ? "the image that met your query" : "",
      shown.focus ? "framed: what was compared" : "",
    ].filter(Boolean).join(" · ");
  }
  function toggle(event) {
    if (zoom.hidden) return;
    const isZoomed = stage.classList.toggle("zoomed");
    zoom.setAttribute("aria-pressed", String(isZoomed));
    aim(event);
  }
  function aim(event) {
    const box = stage.getBoundingClientRect();
    const [x, y] = event?.clientX ? [(event.clientX - box.left) / box.width, (event.clientY - box.top) / box.height] : [0.5, 0.5];
    stage.style.setProperty("--x", `${x * 100}%`);
    stage.style.setProperty("--y", `${y * 100}%`);
  }
  stage.addEventListener("click", toggle);
  stage.addEventListener("pointermove", (event) => { if (stage.classList.contains("zoomed")) aim(event); });
  root.addEventListener("keydown", (event) => {
    const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (step && images.length > 1) { event.preventDefault(); show(at + step); }
  });
  show(at);
  return root;
}

// Frames around `boxes` of an image, in shares of its sides; they lie where `object-fit: contain` puts the image.
function framed(img, boxes) {
  const draw = (name, attributes) => {
    const element = document.createElementNS("http://www.w3.org/2000/svg", name);
    for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
    return element;
  };
  const frames = draw("svg", { class: "focus", "aria-hidden": "true" }); // the caption says it
  const fit = () => {
    const { naturalWidth: across, naturalHeight: down } = img;
    frames.setAttribute("viewBox", `0 0 ${across} ${down}`);
    frames.replaceChildren(...boxes.map(([x, y, width, height]) =>
      draw("rect", { x: x * across, y: y * down, width: width * across, height: height * down })));
  };
  if (img.complete && img.naturalWidth) fit();
  else img.addEventListener("load", fit, { once: true });
  return frames;
}

async function explanationSection(match, queryImages) {
  const { terms } = match.explanation;
  const thumbnails = new Map(), titles = new Map(); // of the images of query items, and of the items
  for (const id of new Set(terms.filter((term) => term.image !== null).map((term) => term.query))) {
    try {
      const item = await getItem(id);
      titles.set(id, titleOf(id, item.attributes));
      for (const each of item.images) thumbnails.set(id + "\n" + each.image, each.thumbnail);
    } catch { /* the item has left the catalog in the meantime */ }
  }
  const rows = terms.map((term) => {
    const source = term.kind === "image" ? queryImages.find((each) => term.query.startsWith(each.name))?.url
      : thumbnails.get(term.query + "\n" + term.image);
    return make("li", { classes: "term" },
      picture(match.thumbnail, match.id, { lazy: false }),
      make("span", { classes: "cosine", text: term.score.toFixed(2) }),
      source ? picture(source, term.query, { lazy: false }) : make("p", { classes: "quote", text: `“${term.query}”` }),
      make("span", { classes: "soft", text: termText(term, titles.get(term.query) ?? term.query) }));
  });
  return make("section", {},
    make("h3", { text: "Why it is here" }), make("ul", { classes: "terms" }, ...rows), effectNotes(match.explanation));
}

function termText(term, title) {
  const weight = term.weight === 1 ? "" : `, weight ${term.weight}`;
  if (term.kind === "negative") return `to move away from ${title}${weight}`;
  if (term.kind === "text") return `how well the image fits this text${weight}`;
  return `the image that is most like ${title}${weight}`;
}

function attributeSection(match) {
  const shared = match.explanation?.shared ?? {};
  const list = make("dl");
  for (const [name, value] of Object.entries({ ...match.attributes, id: match.id })) {
    if (value === null || SHOWN_ABOVE.has(name) || value === productUrl(match.attributes)) continue;
    list.append(make("dt", { text: labelOf(name) }), make("dd", { classes: name in shared ? "shared" : "", text: valueText(value),
      title: name in shared ? "the same as in your query" : null }));
  }
  return make("section", {}, make("h3", { text: "Attributes" }), list);
}
