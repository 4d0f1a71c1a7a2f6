// The state of the page: the query and the filters. It is written into the URL, so that it can be shared and the back
// button works.
//
// search: words that an item has. likes, dislikes: ids of items. texts: descriptions for an encoder that reads text.
// images: files of this browser, which a URL cannot hold (images.js keeps them). filters: attribute -> Set of values, or [low, high].
// sort: an attribute, after a "-" for its highest value first; "" leaves the order of the answer.

export function emptyState() {
  return { search: "", likes: [], dislikes: [], texts: [], images: [], diversity: 0, filters: new Map(), sort: "" };
}

// Whether there is something to be similar to.
export function hasQuery(state) {
  return state.likes.length + state.texts.length + state.images.length > 0;
}

// The query string of a state, which is relative to the address of the page.
export function toUrl(state) {
  const query = new URLSearchParams();
  if (state.search) query.set("q", state.search);
  for (const id of state.likes) query.append("like", id);
  for (const id of state.dislikes) query.append("negative", id);
  for (const text of state.texts) query.append("text", text);
  if (state.diversity) query.set("diversity", state.diversity);
  if (state.sort) query.set("sort", state.sort);
  for (const [name, selected] of state.filters) {
    if (Array.isArray(selected)) query.append("range." + name, selected.join(".."));
    else for (const value of selected) query.append("is." + name, JSON.stringify(value));
  }
  const text = query.toString();
  return text ? location.pathname + "?" + text : location.pathname;
}

export function fromUrl(queryString) {
  const state = emptyState();
  for (const [name, value] of new URLSearchParams(queryString)) {
    if (name === "q") state.search = value;
    else if (name === "like") state.likes.push(value);
    else if (name === "negative") state.dislikes.push(value);
    else if (name === "text") state.texts.push(value);
    else if (name === "sort") state.sort = value;
    else if (name === "diversity") state.diversity = Math.min(0.9, Math.max(0, Number(value) || 0));
    else if (name.startsWith("is.")) selectValue(state, name.slice(3), value);
    else if (name.startsWith("range.")) {
      const ends = value.split("..").map(Number);
      if (ends.length === 2 && ends.every(Number.isFinite)) state.filters.set(name.slice(6), ends);
    }
  }
  return state;
}

function selectValue(state, name, json) {
  let value;
  try { value = JSON.parse(json); } catch { return; }
  if (typeof value !== "string" && typeof value !== "boolean") return;
  const selected = state.filters.get(name);
  if (selected instanceof Set) selected.add(value);
  else state.filters.set(name, new Set([value]));
}

// The state with a value of an attribute chosen, or no longer.
export function withValue(state, name, value, isChosen) {
  const values = new Set(state.filters.get(name) ?? []);
  if (isChosen) values.add(value); else values.delete(value);
  return withFilter(state, name, values.size ? values : null);
}

export function withFilter(state, name, selected) {
  const filters = new Map(state.filters);
  if (selected === null) filters.delete(name); else filters.set(name, selected);
  return { ...state, filters };
}

const quoted = (attribute) => "`" + attribute.replaceAll("`", "``") + "`";

// The filters as an expression, as `visrec similar --where` takes it. `facets` say which price is paid, where there are two.
export function filterExpression(state, facets) {
  const parts = [];
  for (const [name, selected] of state.filters) {
    const attribute = quoted(name);
    if (Array.isArray(selected)) parts.push(rangeExpression(attribute, facets.find((facet) => facet.name === name)?.lower, selected));
    else if ([...selected].every((value) => typeof value === "boolean")) {
      if (selected.size === 1) parts.push(selected.has(true) ? attribute : `${attribute} == false`);
    } else { // the attribute may be a set; a text is like a set of itself
      const any = [...selected].map((value) => `${JSON.stringify(value)} in ${attribute}`);
      parts.push(any.length > 1 ? `(${any.join(" or ")})` : any[0]);
    }
  }
  return parts.join(" and ");
}

// The lower one of two attributes lies in a range, or the only one: it is at most `high` if either is, and at least `low` if none is below.
function rangeExpression(attribute, lower, [low, high]) {
  if (!lower) return `${low} <= ${attribute} <= ${high}`;
  const other = quoted(lower); // at 0 there is none
  return `(${attribute} <= ${high} or 0 < ${other} <= ${high}) and not ${attribute} < ${low} and not 0 < ${other} < ${low}`;
}

// The filter that the items with one of some values of an attribute match.
export const anyOf = (name, values) => `${quoted(name)} in [${values.map((value) => JSON.stringify(value)).join(", ")}]`;
