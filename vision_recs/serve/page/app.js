// The page. The state says what is shown; each change of the state goes into the URL and calls the API.

import { ApiError, getFacets, getInfo, getItem, getItems, getSimilar, logIn } from "./api.js";
import { count, dateAttribute, number, titleOf } from "./attributes.js";
import { choosePart } from "./crop.js";
import { showDetails } from "./details.js";
import { $, iconButton, make, picture, redraw } from "./elements.js";
import { answered, keepEvents, opened } from "./events.js";
import { filterChips, filterWords, showFacets } from "./facets.js";
import { entryOf, imagesOf } from "./images.js";
import { card } from "./items.js";
import { listenToKeys } from "./keys.js";
import { nothingFound } from "./nothing.js";
import { inOrder, ordersOf, parted } from "./order.js";
import { emptyState, filterExpression, fromUrl, hasQuery, toUrl } from "./state.js";
import { takeImages } from "./uploads.js";
import { showVariants, variantsOf } from "./variants.js";

const FIRST_K = 24, MORE_K = 24, MAX_K = 240, TYPING_MS = 130, MOST_FOUND = 2_000;

let lost = 0; // images of the query that this browser has no more
let state = restoreState(history.state);
let info = null, facets = [], k = FIRST_K, nextOffset = null, request = null, currency = "", date = null;
const itemCache = new Map(); // id -> an item that was shown: the query bar needs its title and thumbnail

const actions = {
  open: (match) => { opened(match.id); navigate({ ...newQuery(), likes: [match.id] }); },
  like: (match) => toggle(match.id, "likes", "dislikes"),
  dislike: (match) => toggle(match.id, "dislikes", "likes"),
  details: (match) => { opened(match.id); showDetails(match, state.images, actions, variantsOf); },
  swap: async (match, variant) => {
    const shown = cardOf(match.id), next = card(keep(variant), state, actions, await variantsOf(variant));
    shown.replaceWith(next);
    next.querySelector(".swatch[aria-pressed=true]")?.focus({ preventScroll: true });
  },
};

// A new query keeps the filters and the diversity, and comes in the order of likeness.
const newQuery = () => ({ ...emptyState(), filters: state.filters, diversity: state.diversity });

// The state of the URL, with the images that an entry of the history names; which of them are lost, the page says.
function restoreState(entry) {
  const images = imagesOf(entry);
  lost = (entry?.images?.length ?? 0) - images.length;
  return { ...fromUrl(location.search), images };
}

const without = (list, removed) => list.filter((each) => each !== removed);

function toggle(id, side, otherSide) {
  const has = state[side].includes(id);
  const changed = { ...state, search: "", [side]: without(state[side], id), [otherSide]: without(state[otherSide], id) };
  if (!has) changed[side] = [...changed[side], id];
  navigate(changed);
}

// Change the state. The back button undoes it, except with `replace`: for what changes with each letter.
function navigate(newState, { replace = false } = {}) {
  const before = state;
  state = newState;
  k = FIRST_K;
  lost = 0;
  history[replace ? "replaceState" : "pushState"](entryOf(state.images), "", toUrl(state));
  if (!replace && before.likes.join() !== state.likes.join()) window.scrollTo({ top: 0 });
  refresh();
}

window.addEventListener("popstate", (event) => {
  state = restoreState(event.state);
  k = FIRST_K;
  refresh();
});

// ---- results ----

async function refresh() {
  request?.abort();
  const current = request = new AbortController();
  showControls();
  $("results").setAttribute("aria-busy", "true");
  $("notice").hidden = true;
  if (lost) notice(`${count(lost, "image")} of this search ${lost === 1 ? "is" : "are"} no longer here: choose again what you look for.`);
  const known = currency;
  try {
    await Promise.all([hasQuery(state) ? showSimilar(current.signal) : showItems(current.signal), countFacets(current.signal)]);
    if (currency !== known) showFilters(); // the items have told in what the prices are
  } catch (error) {
    if (error.name === "AbortError") return;
    showFailure(error);
  }
  if (current === request) $("results").setAttribute("aria-busy", "false");
}

async function showSimilar(signal) {
  const answer = await getSimilar(state, filterExpression(state, facets), k, signal);
  const [near, weak] = parted(answer.matches, state, info?.weak_below);
  showCards(inOrder(near, state.sort), weak);
  answered(state.sort ? undefined : answer.answer, answer.matches.map((match) => cardOf(match.id))); // places are those of the answer
  setTitle(queryTitle(), weak.length ? `${count(near.length, "similar item")}, ${number(weak.length)} less similar` : count(near.length, "similar item"));
  $("more").hidden = answer.matches.length < k || k >= MAX_K;
  nextOffset = null;
  offer(answer.matches.length, answer);
}

function queryTitle() {
  if (state.likes.length + state.texts.length + state.images.length > 1) return "Like all of these";
  if (state.texts.length) return `Looks like “${state.texts[0]}”`;
  if (state.images.length) return "Looks like your image";
  const [id] = state.likes;
  return `Looks like ${titleOf(id, itemCache.get(id)?.attributes ?? {})}`;
}

async function showItems(signal, offset = 0) {
  const { search, sort } = state;
  const page = await getItems({ search, where: filterExpression(state, facets), sort, offset }, signal);
  showCards(page.items, [], offset > 0);
  answered(undefined, []);
  nextOffset = page.next_offset;
  $("more").hidden = nextOffset === null;
  const total = search && page.total === MOST_FOUND ? `the best ${number(page.total)} items` : count(page.total, "item");
  const lack = state.dislikes.length ? ". “Less like” needs something to be like: like an item, too." : "";
  setTitle(search ? `“${search}”` : filterWords(state) || "The catalog", total + lack);
  offer(page.total, page);
}

async function offer(total, page) {
  $("sheet-show").textContent = `Show ${count(total, "item")}`;
  if (total) { $("nothing").replaceChildren(); return; }
  const every = (await getFacets("", "").catch(() => ({ facets: [] }))).facets;
  if (!$("grid").childElementCount) $("nothing").replaceChildren(nothingFound(state, page, every, info, navigate, emptyState));
}

function showCards(items, weak, append = false) {
  for (const item of [...items, ...weak]) keep(item);
  const cards = items.map((item) => card(item, state, actions));
  if (weak.length) cards.push(make("li", { classes: "divider" }, make("h2", { text: "Less similar" })), ...weak.map((item) => card(item, state, actions)));
  if (append) $("grid").append(...cards);
  else replaceCards(cards);
  showVariants([...items, ...weak], cardOf, actions.swap);
}

function replaceCards(cards) {
  const focused = [...$("grid").children].indexOf(document.activeElement.closest(".card"));
  const id = $("grid").children[focused]?.dataset.id;
  $("grid").replaceChildren(...cards);
  if (focused >= 0 && cards.length) { // the keyboard stays where it was
    const same = cards.find((each) => each.dataset.id === id) ?? cards[Math.min(focused, cards.length - 1)];
    same.querySelector(".open")?.focus({ preventScroll: true });
  }
}

function keep(item) {
  itemCache.set(item.id, item);
  currency ||= item.attributes.currency ?? "";
  date ??= dateAttribute(item.attributes);
  return item;
}

const cardOf = (id) => [...$("grid").children].find((each) => each.dataset.id === id);

async function showMore() {
  $("more").disabled = true;
  try {
    if (nextOffset !== null) await showItems(request.signal, nextOffset);
    else { k = Math.min(MAX_K, k + MORE_K); await refresh(); }
  } finally { $("more").disabled = false; }
}

function showFailure(error) {
  $("results").setAttribute("aria-busy", "false");
  if (error instanceof ApiError && error.status === 401) { if (!$("login").open) $("login").showModal(); return; }
  $("grid").replaceChildren();
  $("nothing").replaceChildren();
  $("more").hidden = true;
  setTitle("This did not work", "");
  const text = error instanceof ApiError ? error.message : "The server cannot be reached. Is it still running?";
  notice(text[0].toUpperCase() + text.slice(1) + (/[.?!]$/.test(text) ? "" : "."));
}

function setTitle(text, subtitle) {
  $("title").textContent = text;
  $("subtitle").textContent = subtitle;
  document.title = state.search || hasQuery(state) ? `${text} · visrec` : "visrec";
}

function notice(text) {
  $("notice").textContent = text;
  $("notice").hidden = false;
}

// ---- the query bar, the filters and the order ----

function showControls() {
  if (document.activeElement !== $("search")) $("search").value = state.search;
  $("text-query").hidden = !(info?.supports_text && $("search").value.trim());
  $("diversity-slider").hidden = !hasQuery(state);
  $("diversity").value = state.diversity;
  $("filter-count").textContent = state.filters.size;
  $("filter-count").hidden = !state.filters.size;
  showChosen();
  showOrders();
  const isPlain = state.likes.length === 1 && !state.dislikes.length;
  const chips = [
    ...state.likes.map((id) => itemChip(id, "likes", isPlain ? "like" : "more like")),
    ...state.texts.map((text) => chip("like", `“${text}”`, null, () => navigate({ ...state, texts: without(state.texts, text) }))),
    ...state.images.map(imageChip),
    ...state.dislikes.map((id) => itemChip(id, "dislikes", "less like")),
  ];
  redraw($("chips"), ...chips);
  $("query").hidden = !chips.length;
}

function showOrders() {
  const orders = ordersOf(state, facets, date);
  const isSame = [...$("sort").options].map((each) => each.value + each.text).join() === orders.map((each) => each.join("")).join();
  if (!isSame) $("sort").replaceChildren(...orders.map(([value, text]) => make("option", { value, text })));
  $("sort").value = state.sort;
  $("sort").parentElement.classList.toggle("needless", orders.length < 2);
}

async function countFacets(signal) {
  const counted = await getFacets(hasQuery(state) ? "" : state.search, filterExpression(state, facets), signal);
  facets = counted.facets;
  showFilters();
}

function showFilters() {
  showFacets($("facets"), facets, state, currency, navigate);
  showChosen();
  showOrders();
}

function showChosen() {
  const chosen = filterChips(state, currency, navigate);
  redraw($("filter-chips"), ...chosen);
  $("filter-chips").hidden = !chosen.length;
}

function itemChip(id, side, kind) {
  const item = itemCache.get(id);
  if (!item) loadItem(id);
  return chip(kind, item ? titleOf(id, item.attributes) : id, item?.cover ?? item?.thumbnail,
    () => navigate({ ...state, [side]: without(state[side], id) }));
}

function chip(kind, name, source, onremove) {
  return make("li", { classes: `chip ${kind === "less like" ? "dislike" : ""}` },
    source ? picture(source, "", { lazy: false, side: 160 }) : null,
    make("div", { classes: "label" }, make("p", { classes: "kind", text: kind }), make("p", { classes: "name", text: name, title: name })),
    iconButton("close", `Remove ${name}`, onremove, { classes: "remove", key: `remove ${name}` }));
}

function imageChip(image) {
  const element = chip(image.crop ? "like a part" : "like", image.name, image.url, () => navigate({ ...state, images: without(state.images, image) }));
  const changed = (crop) => navigate({ ...state, images: state.images.map((each) => each === image ? { ...each, crop } : each) });
  element.lastChild.before(make("button", { classes: "plain", type: "button", text: "Part", "aria-label": `Choose a part of ${image.name}`,
    "data-key": `part ${image.name}`, onclick: () => choosePart(image, changed) }));
  return element;
}

// An item of the URL that this page has not shown.
async function loadItem(id) {
  itemCache.set(id, { id, attributes: {}, thumbnail: "" });
  try {
    const item = await getItem(id);
    keep({ ...item, thumbnail: item.images[0].thumbnail });
    showControls();
    if (state.likes[0] === id) setTitle(queryTitle(), $("subtitle").textContent);
  } catch { /* the query that names it fails, and says why */ }
}

function openSheet() {
  $("sheet-body").append($("filter-panel"));
  $("sheet").showModal();
}

$("sheet").addEventListener("close", () => $("filters").append($("filter-panel")));
matchMedia("(min-width: 861px)").addEventListener("change", () => $("sheet").close());

// ---- the search field ----

let typingTimer = 0;
$("search").addEventListener("input", () => {
  clearTimeout(typingTimer);
  const isFirst = !state.search && !hasQuery(state);
  typingTimer = setTimeout(() => search(!isFirst), TYPING_MS);
});
$("search-form").addEventListener("submit", (event) => { event.preventDefault(); clearTimeout(typingTimer); search(true); $("search").blur(); });
$("text-query").addEventListener("click", () => {
  const text = $("search").value.trim();
  $("search").value = "";
  navigate({ ...newQuery(), texts: [text] });
});

function search(replace) {
  navigate({ ...newQuery(), search: $("search").value.trim(), sort: hasQuery(state) ? "" : state.sort }, { replace: replace && !hasQuery(state) });
}

// ---- buttons and keys ----

$("clear").addEventListener("click", () => navigate(emptyState()));
$("more").addEventListener("click", showMore);
$("sort").addEventListener("change", () => navigate({ ...state, sort: $("sort").value }));
$("diversity").addEventListener("change", () => navigate({ ...state, diversity: Number($("diversity").value) }, { replace: true }));
$("filters-open").addEventListener("click", openSheet);
$("sheet-show").addEventListener("click", () => $("sheet").close());
$("sheet-clear").addEventListener("click", () => navigate({ ...state, filters: new Map() }));
$("facets").addEventListener("submit", (event) => event.preventDefault());
for (const id of ["details", "sheet"]) $(id).addEventListener("click", (event) => { if (event.target === $(id)) $(id).close(); });
document.querySelector("[data-home]").addEventListener("click", (event) => { event.preventDefault(); navigate(emptyState()); });
takeImages((images) => {
  if (images.length) navigate({ ...newQuery(), images });
  else notice("This is not an image. JPEG, PNG, WebP, AVIF, GIF, BMP and TIFF can be read.");
});

listenToKeys((id, act) => actions[act](itemCache.get(id)));

$("login-form").addEventListener("submit", async (event) => {
  event.preventDefault();
  try {
    await logIn($("token").value);
    $("login").close();
    start();
  } catch (error) {
    $("login-error").textContent = error.status === 401 ? "This is not the token." : error.message;
    $("login-error").hidden = false;
  }
});

// ---- start ----

async function start() {
  showControls();
  $("main").hidden = false; // nothing moves when the query comes above it
  const asked = getInfo().then((answer) => { keepEvents(answer.keeps_events ?? false); return answer; }, () => null); // other calls say what is wrong
  if (hasQuery(state)) info = await asked; // which says what is less similar, and whether events are kept
  if ([...state.filters.values()].some(Array.isArray)) ({ facets } = await getFacets("", "").catch(() => ({ facets })));
  const shown = refresh();
  info = await asked;
  if (info?.items !== undefined) {
    $("store").textContent = `${count(info.items, "item")}, ${count(info.images, "image")} · ${info.encoder}, generation ${info.generation}`;
    $("footer").hidden = false;
  }
  await shown;
  showControls();
}

start();
