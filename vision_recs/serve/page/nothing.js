// What the page offers where nothing was found: the nearest words, what looks like them, less filters, and what is popular.

import { labelOf, number } from "./attributes.js";
import { make } from "./elements.js";
import { shownFacets } from "./facets.js";

const POPULAR = 6;

// `page` is the answer of the API, `facets` are those of the whole catalog, `info` says what the server can do.
export function nothingFound(state, page, facets, info, navigate, emptied) {
  const offers = [];
  const offer = (text, target, strong = false) => make("button", { classes: `button ${strong ? "strong" : ""}`, type: "button", text,
    onclick: () => navigate(target) });
  if (page.corrected) offers.push(offer(`Search for “${page.corrected}”`, { ...state, search: page.corrected }, true));
  if (state.filters.size) offers.push(offer(state.search ? "Search without filters" : "Clear all filters", { ...state, filters: new Map() }));
  if (state.search && info?.supports_text) offers.push(offer(`What looks like “${state.search}”?`, { ...emptied(), texts: [state.search] }));
  const [first] = shownFacets(facets).filter((facet) => facet.kind === "text");
  const popular = first ? first.counts.slice(0, POPULAR).map(([value, items]) => make("li", {},
    make("button", { classes: "button", type: "button", onclick: () => navigate({ ...emptied(), filters: new Map([[first.name, new Set([value])]]) }) },
      value, make("small", { classes: "soft", text: number(items) })))) : [];
  return make("div", { classes: "nothing" },
    make("p", { classes: "large", text: reason(state) }),
    ...(page.notes ?? []).map((text) => make("p", { classes: "soft", text: text[0].toUpperCase() + text.slice(1) + "." })),
    offers.length ? make("div", { classes: "buttons" }, ...offers) : null,
    popular.length ? make("h2", { text: `Popular: ${labelOf(first.name)}` }) : null,
    popular.length ? make("ul", { classes: "buttons" }, ...popular) : null);
}

function reason(state) {
  if (!state.search) return "No item matches the filters.";
  return state.filters.size ? "No item that matches the filters has these words." : "No item has these words.";
}
