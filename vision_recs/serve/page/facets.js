// The filters beside the grid, made of the facets of the API, and the chips that show what is set.

import { cssColor, isMoney, labelOf, money, number, valueText } from "./attributes.js";
import { iconButton, make, redraw } from "./elements.js";
import { withFilter, withValue } from "./state.js";

const FIRST = ["category", "price", "color", "colour", "image_colors", "brand"];
const HIDDEN = new Set(["variant_group", "item_group_id", "currency", "gtin", "ean", "mpn", "sku", "id", "list_price", "compare_at_price",
  "original_price", "regular_price", "rrp"]); // nobody filters by them
const SHOWN = 8, SEARCHABLE = 12;

const rank = (facet) => (FIRST.indexOf(facet.name) + FIRST.length + 1) % (FIRST.length + 1) + (facet.kind === "number" ? 0.5 : 0);

const expanded = new Set(); // the facets of which all values are shown
const searches = new Map(); // facet -> what its values are searched for

// The facets that a person is shown, in their order.
export function shownFacets(facets) {
  const lower = facets.map((facet) => facet.lower); // which count in the facet of the price
  return facets.filter((facet) => !HIDDEN.has(facet.name) && !lower.includes(facet.name)).sort((one, other) => rank(one) - rank(other));
}

export function showFacets(form, facets, state, currency, onchange) {
  const shown = shownFacets(facets).filter((facet) => facet.items || state.filters.has(facet.name));
  const draw = () => redraw(form, ...shown.map((facet) => facet.kind === "number"
    ? rangeFacet(facet, state, isMoney(facet.name) ? currency : "", onchange) : valueFacet(facet, state, draw, onchange)));
  draw();
}

function valueFacet(facet, state, draw, onchange) {
  const selected = state.filters.get(facet.name) instanceof Set ? state.filters.get(facet.name) : new Set();
  const known = new Set(facet.counts.map(([value]) => value));
  const counts = [...[...selected].filter((value) => !known.has(value)).map((value) => [value, 0]), ...facet.counts];
  const sought = (searches.get(facet.name) ?? "").toLowerCase();
  const found = counts.filter(([value]) => valueText(value).toLowerCase().includes(sought));
  found.sort(([one], [other]) => selected.has(other) - selected.has(one));
  const isLong = found.length > SHOWN + 1 && !sought;
  const shown = isLong && !expanded.has(facet.name) ? found.slice(0, Math.max(SHOWN, selected.size)) : found;
  const options = shown.map(([value, items]) => valueOption(facet, value, items, selected.has(value), state, onchange));
  return make("fieldset", { classes: "facet" }, make("legend", { text: labelOf(facet.name) }),
    counts.length > SEARCHABLE ? facetSearch(facet, draw) : null,
    make("div", { classes: "options" }, ...options),
    shown.length ? null : make("p", { classes: "soft small", text: "No value has these letters." }),
    isLong ? moreButton(facet, found.length, draw) : null);
}

function valueOption(facet, value, items, isChosen, state, onchange) {
  const text = valueText(value);
  const box = make("input", { type: "checkbox", checked: isChosen, "data-key": `${facet.name}=${JSON.stringify(value)}`,
    onchange: () => onchange(withValue(state, facet.name, value, box.checked)) });
  const dot = /colou?r/i.test(facet.name) ? colorDot(value) : null;
  return make("label", { classes: "option" }, box, dot, make("span", { text, title: text }), make("small", { text: number(items) }));
}

function colorDot(value) {
  const color = cssColor(value);
  if (!color) return null;
  const dot = make("i", { classes: "dot", "aria-hidden": "true" });
  dot.style.setProperty("--swatch", color);
  return dot;
}

function facetSearch(facet, draw) {
  const field = make("input", { classes: "field small", type: "search", placeholder: `Find a ${labelOf(facet.name)}`,
    "aria-label": `Find a value of ${labelOf(facet.name)}`, "data-key": `${facet.name} search`, autocomplete: "off",
    oninput: () => { searches.set(facet.name, field.value); draw(); } });
  field.value = searches.get(facet.name) ?? "";
  return field;
}

function moreButton(facet, total, draw) {
  const isOpen = expanded.has(facet.name);
  return make("button", { classes: "plain small", type: "button", "data-key": `${facet.name} more`, "aria-expanded": String(isOpen),
    text: isOpen ? "Show fewer" : `Show all ${number(total)}`,
    onclick: () => { if (isOpen) expanded.delete(facet.name); else expanded.add(facet.name); draw(); } });
}

function rangeFacet(facet, state, currency, onchange) {
  const steps = facet.histogram.length, label = labelOf(facet.name);
  const valueAt = stepValues(facet, steps);
  const stepOf = (value) => Math.max(0, Math.min(steps, Math.round((value - facet.min) / (facet.max - facet.min) * steps)));
  const selected = state.filters.get(facet.name);
  const ends = Array.isArray(selected) ? selected : [facet.min, facet.max];
  const bars = histogramBars(facet.histogram);
  const words = ["from", "to"];
  const typedText = (value) => (currency && !Number.isInteger(value) ? value.toFixed(2) : String(Number(value.toFixed(2))));
  const sliders = ends.map((value, at) => make("input", { type: "range", min: 0, max: steps, value: stepOf(value),
    "aria-label": `${label} ${words[at]}`, "data-key": `${facet.name} ${words[at]}`, oninput: () => show(at), onchange: () => commit(slid(at)) }));
  const fields = ends.map((value, at) => make("input", { classes: "field small", type: "number", min: facet.min, max: facet.max, step: "any",
    value: typedText(value), "aria-label": `${label} ${words[at]}, as a number`, "data-key": `${facet.name} ${words[at]} number`, onchange: () => commit(typed(at)) }));
  // What is shown is rounded: the end that a person does not change keeps its value.
  const changed = (at, value) => ends.with(at, value).sort((one, other) => one - other);
  const slid = (at) => changed(at, valueAt(Number(sliders[at].value)));
  const typed = (at) => changed(at, Number.isFinite(fields[at].valueAsNumber) ? fields[at].valueAsNumber : [facet.min, facet.max][at]);
  function show(moved = null) {
    const [from, to] = sliders.map((slider) => Number(slider.value)).sort((one, other) => one - other);
    bars.forEach((bar, step) => bar.classList.toggle("selected", step >= from && step < Math.max(to, from + 1)));
    if (moved !== null) slid(moved).forEach((value, at) => { fields[at].value = typedText(value); });
    sliders.forEach((slider) => slider.setAttribute("aria-valuetext", amount(valueAt(Number(slider.value)))));
  }
  const amount = (value) => (currency ? money(value, currency) : number(value));
  const commit = ([low, high]) => onchange(withFilter(state, facet.name, low <= facet.min && high >= facet.max ? null : [low, high]));
  show();
  return make("fieldset", { classes: "facet" }, make("legend", { text: currency ? `${label}, ${symbolOf(currency)}` : label }),
    make("div", { classes: "bars", "aria-hidden": "true" }, ...bars),
    make("div", { classes: "range" }, ...sliders),
    make("div", { classes: "ends" }, fields[0], make("span", { classes: "soft", text: "–", "aria-hidden": "true" }), fields[1]));
}

const symbolOf = (currency) => money(0, currency).replace(/[\d.,\s]/g, "");

// The function from a step of the slider to a value; wide ranges of integers have integer steps.
function stepValues(facet, steps) {
  const isInteger = Number.isInteger(facet.min) && Number.isInteger(facet.max) && facet.max - facet.min > 20;
  return (step) => {
    if (step === 0) return facet.min;
    if (step === steps) return facet.max;
    const value = facet.min + (facet.max - facet.min) * step / steps;
    return isInteger ? Math.round(value) : Number(value.toPrecision(3));
  };
}

function histogramBars(histogram) {
  const highest = Math.max(1, ...histogram);
  return histogram.map((items) => {
    const bar = make("i");
    bar.style.height = `${items ? 8 + 92 * Math.sqrt(items / highest) : 0}%`;
    return bar;
  });
}

// A chip for each filter that is set, which removes it, and a button that removes all.
export function filterChips(state, currency, onchange) {
  const chips = [];
  for (const [name, selected] of state.filters) {
    if (Array.isArray(selected)) {
      const [low, high] = selected.map((value) => (isMoney(name) && currency ? money(value, currency) : number(value)));
      chips.push(filterChip(`${labelOf(name)}: ${low} – ${high}`, () => onchange(withFilter(state, name, null))));
    } else for (const value of selected) {
      const text = typeof value === "boolean" ? `${labelOf(name)}: ${valueText(value)}` : value;
      chips.push(filterChip(text, () => onchange(withValue(state, name, value, false))));
    }
  }
  if (!chips.length) return [];
  return [...chips, make("li", {}, make("button", { classes: "plain small", type: "button", text: "Clear all", "data-key": "clear all",
    onclick: () => onchange({ ...state, filters: new Map() }) }))];
}

function filterChip(text, onremove) {
  return make("li", { classes: "filter-chip" }, make("span", { text, title: text }), iconButton("close", `Remove ${text}`, onremove, { classes: "remove", key: `chip ${text}` }));
}

// The filters in a few words, for the heading.
export function filterWords(state) {
  const words = [];
  for (const selected of state.filters.values()) {
    if (selected instanceof Set) words.push(...[...selected].filter((value) => typeof value === "string"));
  }
  return words.slice(0, 3).join(", ") + (words.length > 3 ? " …" : "");
}
