// Elements that several parts of the page use. Text is always set as text, never as markup.

import { address } from "./api.js";

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
  previous: "m14.500 5-7 7 7 7",
  next: "m9.500 5 7 7-7 7",
  zoom: "M10.500 4a6.500 6.500 0 1 0 0 13 6.500 6.500 0 0 0 0-13zM15.500 15.500l5 5M10.500 8v5M8 10.500h5",
  link: "M14 5h5v5M19 5l-8 8M17 13v6H5V7h6",
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

export function iconButton(name, label, onclick, { classes = "action", pressed = null, key = null } = {}) {
  return make("button", { classes, type: "button", title: label, "aria-label": label, "data-key": key,
    "aria-pressed": pressed === null ? null : String(pressed), onclick }, icon(name));
}

// An img; a source of the API is a thumbnail, of which `side` is the longer side in pixels. Words, for an item without an image.
export function picture(source, alt, { lazy = true, side = 320 } = {}) {
  if (!source) return make("span", { classes: "no-image", text: "no image" });
  return make("img", { alt, src: sized(source, side), loading: lazy ? "lazy" : "eager", decoding: "async", draggable: "false" });
}

export const sized = (source, side) => source.startsWith("v1/") ? `${address(source)}?side=${side}` : source;

// A square tile with an image, or with a text if the image cannot be loaded.
export function tile(source, alt, options) {
  const img = picture(source, alt, options);
  const element = make("div", { classes: "image" }, img);
  img.addEventListener("error", () => element.classList.add("missing"));
  return element;
}

// Draw the children of an element anew, and leave the keyboard where it was: on the element with the same key.
export function redraw(element, ...children) {
  const key = element.contains(document.activeElement) ? document.activeElement.dataset.key : undefined;
  element.replaceChildren(...children);
  if (key !== undefined) [...element.querySelectorAll("[data-key]")].find((each) => each.dataset.key === key)?.focus({ preventScroll: true });
}
