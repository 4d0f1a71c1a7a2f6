// Elements and texts that several parts of the page use. Text is always set as text, never as markup.

export const $ = (id) => document.getElementById(id);

export function make(tag, { classes = "", text, ...attributes } = {}, ...children) {
  const element = document.createElement(tag);
  if (classes) element.className = classes;
  if (text !== undefined) element.textContent = text;
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (value === true) element.setAttribute(name, "");
    else if (value !== false && value !== null && value !== undefined) element.setAttribute(name, value);
  }
  element.append(...children.filter((child) => child !== null));
  return element;
}

const PATHS = {
  like: "M12 20s-7-4.4-7-9.6A3.9 3.9 0 0 1 12 8a3.9 3.9 0 0 1 7 2.4C19 15.600 12 20 12 20z",
  dislike: "M5 12h14",
  close: "M6 6l12 12M18 6 6 18",
  info: "M12 11v6M12 7.500v.01M21 12a9 9 0 1 1-18 0 9 9 0 0 1 18 0z",
};

export function icon(name) {
  const namespace = "http://www.w3.org/2000/svg";
  const svg = document.createElementNS(namespace, "svg");
  svg.setAttribute("viewBox", "0 0 24 24");
  svg.setAttribute("class", "icon");
  svg.setAttribute("aria-hidden", "true");
  const path = document.createElementNS(namespace, "path");
  path.setAttribute("d", PATHS[name]);
  svg.append(path);
  return svg;
}

// An img; a source of the API is a thumbnail, of which `side` is the longer side in pixels.
export function picture(source, alt, { lazy = true, side = 320 } = {}) {
  const img = make("img", { alt, loading: lazy ? "lazy" : "eager", decoding: "async", draggable: "false" });
  img.src = source.startsWith("/v1/") ? `${source}?side=${side}` : source;
  return img;
}

// A square tile with an image, or with a text if the image cannot be loaded.
export function tile(source, alt) {
  const img = picture(source, alt);
  const element = make("div", { classes: "image" }, img);
  img.addEventListener("error", () => element.classList.add("missing"));
  return element;
}

export function titleOf(id, attributes) {
  return String(attributes.title || attributes.name || id);
}

const SUMMARY_ATTRIBUTES = ["category", "brand", "color", "colour", "material"];

export function summaryOf(attributes) {
  return SUMMARY_ATTRIBUTES.filter((name) => attributes[name]).slice(0, 2).map((name) => attributes[name]).join(" · ");
}

export function priceOf(attributes) {
  const { price, currency } = attributes;
  if (typeof price !== "number") return "";
  try {
    if (currency) return new Intl.NumberFormat(undefined, { style: "currency", currency }).format(price);
  } catch { /* a currency that the browser does not know */ }
  return new Intl.NumberFormat(undefined, { minimumFractionDigits: 2, maximumFractionDigits: 2 }).format(price);
}

export const number = (value) => new Intl.NumberFormat(undefined, { maximumFractionDigits: 2 }).format(value);

export const labelOf = (attribute) => attribute.replaceAll("_", " ");
