// The page. The state says what is shown; each change of the state goes into the URL and calls the API.

import { ApiError, getFacets, getInfo, getItem, getItems, getSimilar, logIn } from "/page/api.js";
import { $, icon, make, number, picture, titleOf } from "/page/elements.js";
import { showFacets } from "/page/facets.js";
import { card, showDetails } from "/page/items.js";
import { emptyState, filterExpression, fromUrl, hasQuery, toUrl } from "/page/state.js";

const FIRST_K = 24, MORE_K = 24, MAX_K = 240, TYPING_MS = 130, MAX_IMAGES = 8;

let state = restoreState(history.state);
let info = null, facets = [], k = FIRST_K, nextOffset = null, request = null;
const itemCache = new Map(); // id -> an item that was shown: the query bar needs its title and thumbnail

const actions = {
  open: (match) => navigate({ ...newQuery(), likes: [match.id] }),
  like: (match) => toggle(match.id, "likes", "dislikes"),
  dislike: (match) => toggle(match.id, "dislikes", "likes"),
  details: (match) => showDetails(match, state.images, actions),
};

// A new query keeps the filters and the diversity.
const newQuery = () => ({ ...emptyState(), filters: state.filters, diversity: state.diversity });

// The state of the URL. Images, which it cannot hold, are kept in the history of the browser.
function restoreState(entry) {
  const images = (entry?.images ?? []).map((each) => ({ ...each, url: URL.createObjectURL(each.blob) }));
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
  const entry = { images: state.images };
  if (replace) history.replaceState(entry, "", toUrl(state));
  else history.pushState(entry, "", toUrl(state));
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
  try {
    if (hasQuery(state)) await showSimilar(current.signal);
    else await showItems(current.signal);
    if (current === request) $("notice").hidden = $("grid").childElementCount > 0;
  } catch (error) {
    if (error.name === "AbortError") return;
    showFailure(error);
  }
  if (current === request) $("results").setAttribute("aria-busy", "false");
}

async function showSimilar(signal) {
  const answer = await getSimilar(state, filterExpression(state), k, signal);
  showCards(answer.matches);
  setTitle(queryTitle(), `${answer.matches.length} items, ${state.diversity ? "similar and diverse" : "most similar first"}`);
  $("more").hidden = answer.matches.length < k || k >= MAX_K;
  nextOffset = null;
  if (!answer.matches.length) notice(state.filters.size ? "Nothing similar matches the filters." : "Nothing is similar to this.");
}

function queryTitle() {
  if (state.likes.length + state.texts.length + state.images.length > 1) return "Like all of these";
  if (state.texts.length) return `Looks like “${state.texts[0]}”`;
  if (state.images.length) return "Looks like your image";
  const [id] = state.likes;
  return `Looks like ${titleOf(id, itemCache.get(id)?.attributes ?? {})}`;
}

async function showItems(signal, offset = 0) {
  const page = await getItems(state.search, filterExpression(state), offset, signal);
  showCards(page.items, offset > 0);
  nextOffset = page.next_offset;
  $("more").hidden = nextOffset === null;
  setTitle(state.search ? `“${state.search}”` : "The catalog", countText());
  if (!page.items.length && !offset) notice(state.search ? "No item has these words. Try fewer, or only their beginnings." : "No item matches the filters.");
}

// How many items there are; a list that has more pages has a known length only if it is the whole catalog.
function countText() {
  let total = null;
  if (nextOffset === null) total = $("grid").childElementCount;
  else if (!state.search && !state.filters.size) total = info?.items ?? null;
  return total === null ? "" : `${number(total)} ${total === 1 ? "item" : "items"}`;
}

function showCards(items, append = false) {
  for (const item of items) itemCache.set(item.id, item);
  const cards = items.map((item) => card(item, state, actions));
  if (append) { $("grid").append(...cards); return; }
  const focused = [...$("grid").children].indexOf(document.activeElement.closest(".card"));
  const id = $("grid").children[focused]?.dataset.id;
  $("grid").replaceChildren(...cards);
  if (focused >= 0 && cards.length) { // the keyboard stays where it was
    const same = cards.find((each) => each.dataset.id === id) ?? cards[Math.min(focused, cards.length - 1)];
    same.querySelector(".open").focus({ preventScroll: true });
  }
}

async function showMore() {
  $("more").disabled = true;
  try {
    if (nextOffset !== null) await showItems(request.signal, nextOffset);
    else { k = Math.min(MAX_K, k + MORE_K); await refresh(); }
  } finally { $("more").disabled = false; }
}

function showFailure(error) {
  $("results").setAttribute("aria-busy", "false");
  if (error instanceof ApiError && error.status === 401) { $("login").showModal(); return; }
  $("grid").replaceChildren();
  $("more").hidden = true;
  setTitle("This did not work", "");
  const text = error instanceof ApiError ? error.message : "The server cannot be reached. Is it still running?";
  notice(text[0].toUpperCase() + text.slice(1) + (/[.?!]$/.test(text) ? "" : "."), true);
}

function setTitle(text, subtitle) {
  $("title").textContent = text;
  $("subtitle").textContent = subtitle;
  document.title = state.search || hasQuery(state) ? `${text} · visrec` : "visrec";
}

function notice(text, isError = false) {
  $("notice").textContent = text;
  $("notice").classList.toggle("error", isError);
  $("notice").hidden = false;
}

// ---- the query bar and the filters ----

function showControls() {
  if (document.activeElement !== $("search")) $("search").value = state.search;
  $("text-query").hidden = !(info?.supports_text && $("search").value.trim());
  $("diversity-slider").hidden = !hasQuery(state);
  $("diversity").value = state.diversity;
  $("filter-count").textContent = state.filters.size;
  $("filter-count").hidden = !state.filters.size;
  if ($("facets").dataset.shown !== filterKey()) { // drawing the same filters again would take away the focus
    showFacets($("facets"), facets, state, () => { $("facets").dataset.shown = filterKey(); navigate({ ...state }); });
    $("facets").dataset.shown = filterKey();
  }
  const isPlain = state.likes.length === 1 && !state.dislikes.length;
  const chips = [
    ...state.likes.map((id) => itemChip(id, "likes", isPlain ? "like" : "more like")),
    ...state.texts.map((text) => chip("like", `“${text}”`, null, () => navigate({ ...state, texts: without(state.texts, text) }))),
    ...state.images.map((each) => chip("like", each.name, each.url, () => navigate({ ...state, images: without(state.images, each) }))),
    ...state.dislikes.map((id) => itemChip(id, "dislikes", "less like")),
  ];
  $("chips").replaceChildren(...chips);
  $("query").hidden = !chips.length;
}

const filterKey = () => JSON.stringify([facets.length, [...state.filters].map(([name, selected]) => [name, [...selected]])]);

function itemChip(id, side, kind) {
  const item = itemCache.get(id);
  if (!item) loadItem(id);
  return chip(kind, item ? titleOf(id, item.attributes) : id, item?.thumbnail,
    () => navigate({ ...state, [side]: without(state[side], id) }));
}

function chip(kind, name, source, onremove) {
  return make("li", { classes: `chip ${kind === "less like" ? "dislike" : ""}` },
    source ? picture(source, "", { lazy: false, side: 160 }) : null,
    make("div", { classes: "label" }, make("p", { classes: "kind", text: kind }), make("p", { classes: "name", text: name, title: name })),
    make("button", { type: "button", "aria-label": `Remove ${name}`, onclick: onremove }, icon("close")));
}

// An item of the URL that this page has not shown.
async function loadItem(id) {
  itemCache.set(id, { id, attributes: {}, thumbnail: "" });
  try {
    const item = await getItem(id);
    itemCache.set(id, { ...item, thumbnail: item.images[0].thumbnail });
    showControls();
    if (state.likes[0] === id) setTitle(queryTitle(), $("subtitle").textContent);
  } catch { /* the query that names it fails, and says why */ }
}

// ---- images: dropped, pasted, chosen ----

async function queryByImages(files) {
  const chosen = [...files].filter((file) => file.type.startsWith("image/")).slice(0, MAX_IMAGES);
  if (!chosen.length) { notice("This is not an image. JPEG, PNG, WebP, AVIF, GIF, BMP and TIFF can be read.", true); return; }
  const blobs = await Promise.all(chosen.map(downscale));
  const images = blobs.map((blob, at) => ({ blob, name: chosen[at].name || "pasted image", url: URL.createObjectURL(blob) }));
  navigate({ ...newQuery(), images });
}

// The photo of a phone has 4 to 10 MB, and the encoder sees some 300 pixels of a side: 1,280 pixels are uploaded.
async function downscale(file) {
  if (file.size < 600_000) return file;
  try {
    const bitmap = await createImageBitmap(file, { imageOrientation: "from-image" });
    const scale = Math.min(1, 1280 / Math.max(bitmap.width, bitmap.height));
    const canvas = new OffscreenCanvas(Math.round(bitmap.width * scale), Math.round(bitmap.height * scale));
    const context = canvas.getContext("2d");
    context.fillStyle = "#fff";
    context.fillRect(0, 0, canvas.width, canvas.height);
    context.drawImage(bitmap, 0, 0, canvas.width, canvas.height);
    return await canvas.convertToBlob({ type: "image/jpeg", quality: 0.92 });
  } catch {
    return file; // the browser cannot read this format; the server may
  }
}

let dragDepth = 0;
window.addEventListener("dragenter", (event) => { event.preventDefault(); dragDepth += 1; $("drop").hidden = false; });
window.addEventListener("dragleave", () => { dragDepth -= 1; if (dragDepth <= 0) { dragDepth = 0; $("drop").hidden = true; } });
window.addEventListener("dragover", (event) => event.preventDefault());
window.addEventListener("drop", (event) => {
  event.preventDefault();
  dragDepth = 0;
  $("drop").hidden = true;
  if (event.dataTransfer.files.length) queryByImages(event.dataTransfer.files);
});
window.addEventListener("paste", (event) => { if (event.clipboardData.files.length) queryByImages(event.clipboardData.files); });
$("file").addEventListener("change", () => { if ($("file").files.length) queryByImages($("file").files); $("file").value = ""; });

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
  navigate({ ...newQuery(), search: $("search").value.trim() }, { replace: replace && !hasQuery(state) });
}

// ---- buttons and keys ----

$("clear").addEventListener("click", () => navigate(emptyState()));
$("more").addEventListener("click", showMore);
$("diversity").addEventListener("change", () => navigate({ ...state, diversity: Number($("diversity").value) }, { replace: true }));
$("details").addEventListener("click", (event) => { if (event.target === $("details")) $("details").close(); });
document.querySelector("[data-home]").addEventListener("click", (event) => { event.preventDefault(); navigate(emptyState()); });

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || document.querySelector("dialog[open]")) return;
  const isTyping = event.target.matches("input, textarea");
  if (event.key === "/" && !isTyping) { event.preventDefault(); $("search").focus(); $("search").select(); return; }
  if (event.key === "Escape" && event.target === $("search")) { $("search").blur(); return; }
  if (isTyping && event.target !== $("search")) return;
  const cards = [...document.querySelectorAll(".card .open")];
  if (event.target === $("search")) { if (event.key === "ArrowDown" && cards.length) { event.preventDefault(); cards[0].focus(); } return; }
  const at = cards.indexOf(event.target.closest(".card")?.querySelector(".open"));
  const columns = getComputedStyle($("grid")).gridTemplateColumns.split(" ").length;
  const step = { ArrowRight: 1, ArrowLeft: -1, ArrowDown: columns, ArrowUp: -columns }[event.key];
  if (step && cards.length) {
    event.preventDefault();
    cards[at < 0 ? 0 : Math.max(0, Math.min(cards.length - 1, at + step))].focus();
  } else if (at >= 0 && "+-i".includes(event.key)) {
    const match = itemCache.get(cards[at].closest(".card").dataset.id);
    ({ "+": actions.like, "-": actions.dislike, i: actions.details })[event.key](match);
  }
});

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
  $("filters").open = matchMedia("(min-width: 861px)").matches;
  try { info = await getInfo(); } catch { /* the next call says what is wrong */ }
  if (info?.items !== undefined) {
    $("store").textContent = `${number(info.items)} items, ${number(info.images)} images · ${info.encoder}, generation ${info.generation}`;
    $("footer").hidden = false;
  }
  await refresh();
  try { facets = (await getFacets()).facets; showControls(); } catch { /* the page works without filters */ }
}

start();
