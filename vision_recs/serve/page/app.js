// The page: what is asked is the state, the address shows it, and every change asks the server anew.

import { Failed, getFacets, getInfo, getItem, getItems, getSimilar, openSession } from "/page/api.js";
import { card } from "/page/cards.js";
import { showDetails } from "/page/details.js";
import { $, icon, make, number, picture, titleOf } from "/page/elements.js";
import { showFacets } from "/page/facets.js";
import { asks, empty, fromAddress, toAddress, where } from "/page/state.js";

const MOST = 24, MORE = 24, LIMIT = 240, TYPING_MS = 130;

let state = restored(history.state);
let info = null, facets = [], shown = MOST, next = null, asking = null;
const known = new Map(); // id -> an item that was seen: its title and thumbnail are needed in the tray

const on = {
  open: (match) => go({ ...empty(), filters: state.filters, diversity: state.diversity, likes: [match.id] }),
  like: (match) => toggle(match.id, "likes", "dislikes"),
  dislike: (match) => toggle(match.id, "dislikes", "likes"),
  details: (match) => showDetails(match, state.images, on),
};

// The state of the address; images, which it cannot hold, lie in the history of the browser.
function restored(entry) {
  const images = (entry?.images ?? []).map((each) => ({ ...each, url: URL.createObjectURL(each.blob) }));
  return { ...fromAddress(location.search), images };
}

function toggle(id, side, other) {
  const has = state[side].includes(id);
  const changed = { ...state, words: "", [side]: state[side].filter((each) => each !== id), [other]: state[other].filter((each) => each !== id) };
  if (!has) changed[side] = [...changed[side], id];
  go(changed);
}

// A step that the back button undoes; `replace` for what changes with every letter.
function go(changed, { replace = false } = {}) {
  const before = state;
  state = changed;
  shown = MOST;
  const entry = { images: state.images };
  if (replace) history.replaceState(entry, "", toAddress(state));
  else history.pushState(entry, "", toAddress(state));
  if (!replace && before.likes.join() !== state.likes.join()) window.scrollTo({ top: 0 });
  refresh();
}

window.addEventListener("popstate", (event) => {
  state = restored(event.state);
  shown = MOST;
  refresh();
});

// ---- asking ----

async function refresh() {
  asking?.abort();
  const mine = asking = new AbortController();
  showControls();
  $("results").setAttribute("aria-busy", "true");
  try {
    if (asks(state)) await showSimilar(mine.signal);
    else await showItems(mine.signal);
    if (mine === asking) $("notice").hidden = $("grid").childElementCount > 0;
  } catch (error) {
    if (error.name === "AbortError") return;
    showFailure(error);
  }
  if (mine === asking) $("results").setAttribute("aria-busy", "false");
}

async function showSimilar(signal) {
  const answer = await getSimilar(state, where(state), shown, signal);
  showCards(answer.matches);
  const many = state.likes.length + state.texts.length + state.images.length > 1;
  const [id] = state.likes;
  const one = state.texts[0] ? `“${state.texts[0]}”` : state.images[0] ? "your image" : titleOf(id, known.get(id)?.attributes ?? {});
  title(many ? "Like all of these" : `Looks like ${one}`, `${answer.matches.length} items, ${state.diversity ? "similar and varied" : "most similar first"}`);
  $("more").hidden = answer.matches.length < shown || shown >= LIMIT;
  next = null;
  if (!answer.matches.length) notice(state.filters.size ? "Nothing similar matches the filters." : "Nothing is similar to this.");
}

async function showItems(signal, offset = 0) {
  const page = await getItems(state.words, where(state), offset, signal);
  showCards(page.items, offset > 0);
  next = page.next;
  $("more").hidden = next === null;
  const total = next === null ? $("grid").childElementCount : null;
  title(state.words ? `“${state.words}”` : "The catalog",
    total !== null ? `${number(total)} ${total === 1 ? "item" : "items"}`
      : state.words || state.filters.size ? "" : info ? `${number(info.items)} items` : "");
  if (!page.items.length && !offset) notice(state.words ? "No item has these words. Try fewer, or only their beginnings." : "No item matches the filters.");
}

function showCards(items, add = false) {
  for (const item of items) known.set(item.id, item);
  const cards = items.map((item) => card(item, state, on));
  if (add) { $("grid").append(...cards); return; }
  const focused = [...$("grid").children].indexOf(document.activeElement.closest(".card"));
  const id = $("grid").children[focused]?.dataset.id;
  $("grid").replaceChildren(...cards);
  if (focused >= 0 && cards.length) {
    const same = cards.find((each) => each.dataset.id === id) ?? cards[Math.min(focused, cards.length - 1)];
    same.querySelector(".open").focus({ preventScroll: true });
  }
}

async function showMore() {
  $("more").disabled = true;
  try {
    if (next !== null) await showItems(asking.signal, next);
    else { shown = Math.min(LIMIT, shown + MORE); await refresh(); }
  } finally { $("more").disabled = false; }
}

function showFailure(error) {
  $("results").setAttribute("aria-busy", "false");
  if (error instanceof Failed && error.status === 401) { $("door").showModal(); return; }
  $("grid").replaceChildren();
  $("more").hidden = true;
  title("This did not work", "");
  const text = error instanceof Failed ? error.message : "The server cannot be reached. Is it still running?";
  notice(text[0].toUpperCase() + text.slice(1) + (/[.?!]$/.test(text) ? "" : "."), true);
}

function title(text, subtitle) {
  $("title").textContent = text;
  $("subtitle").textContent = subtitle;
  document.title = state.words || asks(state) ? `${text} · visrec` : "visrec";
}

function notice(text, wrong = false) {
  $("notice").textContent = text;
  $("notice").classList.toggle("wrong", wrong);
  $("notice").hidden = false;
}

// ---- what was asked ----

function showControls() {
  if (document.activeElement !== $("words")) $("words").value = state.words;
  $("looks").hidden = !(info?.reads_text && $("words").value.trim());
  $("variety").hidden = !asks(state);
  $("diversity").value = state.diversity;
  $("active").textContent = state.filters.size;
  $("active").hidden = !state.filters.size;
  if ($("facets").dataset.shown !== filtersShown()) { // else who uses the keyboard would lose the field
    showFacets($("facets"), facets, state, () => { $("facets").dataset.shown = filtersShown(); go({ ...state }); });
    $("facets").dataset.shown = filtersShown();
  }
  const chips = [
    ...state.likes.map((id) => itemChip(id, "likes", state.likes.length > 1 || state.dislikes.length ? "more like" : "like")),
    ...state.texts.map((text) => chip("like", `“${text}”`, null, () => go({ ...state, texts: state.texts.filter((each) => each !== text) }))),
    ...state.images.map((each) => chip("like", each.name, each.url, () => go({ ...state, images: state.images.filter((other) => other !== each) }))),
    ...state.dislikes.map((id) => itemChip(id, "dislikes", "less like")),
  ];
  $("chips").replaceChildren(...chips);
  $("tray").hidden = !chips.length;
}

const filtersShown = () => JSON.stringify([facets.length, [...state.filters].map(([name, wanted]) => [name, [...wanted]])]);

function itemChip(id, side, kind) {
  const item = known.get(id);
  if (!item) learn(id);
  return chip(kind, item ? titleOf(id, item.attributes) : id, item?.thumbnail,
    () => go({ ...state, [side]: state[side].filter((each) => each !== id) }));
}

function chip(kind, name, source, remove) {
  const image = source ? picture(source, "", { lazy: false, side: 160 }).firstChild : null;
  return make("li", { classes: `chip ${kind === "less like" ? "dislike" : ""}` }, image,
    make("div", { classes: "what" }, make("p", { classes: "kind", text: kind }), make("p", { classes: "name", text: name, title: name })),
    make("button", { type: "button", "aria-label": `Remove ${name}`, onclick: remove }, icon("close")));
}

// An item of an address that this page has not seen.
async function learn(id) {
  known.set(id, { id, attributes: {}, thumbnail: "" });
  try {
    const item = await getItem(id);
    known.set(id, { ...item, thumbnail: item.images[0].thumbnail });
    showControls();
    if (state.likes[0] === id && state.likes.length === 1 && !state.texts.length && !state.images.length)
      title(`Looks like ${titleOf(id, item.attributes)}`, $("subtitle").textContent);
  } catch { /* the question about it will fail, and say so */ }
}

// ---- images: dropped, pasted, chosen ----

async function take(files) {
  const chosen = [...files].filter((file) => file.type.startsWith("image/")).slice(0, 8);
  if (!chosen.length) { notice("That is no image. JPEG, PNG, WebP, AVIF, GIF, BMP and TIFF are read.", true); return; }
  const blobs = await Promise.all(chosen.map(smaller));
  const images = blobs.map((blob, at) => ({ blob, name: chosen[at].name || "pasted image", url: URL.createObjectURL(blob) }));
  go({ ...empty(), filters: state.filters, diversity: state.diversity, images });
}

// A photo of a phone has 4 to 10 MB, of which the encoder sees 300 pixels: 1,280 travel.
async function smaller(file) {
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
    return file; // a format that the browser does not read; the server may
  }
}

let over = 0;
window.addEventListener("dragenter", (event) => { event.preventDefault(); over += 1; $("drop").hidden = false; });
window.addEventListener("dragleave", () => { over -= 1; if (over <= 0) { over = 0; $("drop").hidden = true; } });
window.addEventListener("dragover", (event) => event.preventDefault());
window.addEventListener("drop", (event) => {
  event.preventDefault();
  over = 0;
  $("drop").hidden = true;
  if (event.dataTransfer.files.length) take(event.dataTransfer.files);
});
window.addEventListener("paste", (event) => { if (event.clipboardData.files.length) take(event.clipboardData.files); });
$("file").addEventListener("change", () => { if ($("file").files.length) take($("file").files); $("file").value = ""; });

// ---- words ----

let typing = 0;
$("words").addEventListener("input", () => {
  clearTimeout(typing);
  const first = !state.words && !asks(state);
  typing = setTimeout(() => search(!first), TYPING_MS);
});
$("search").addEventListener("submit", (event) => { event.preventDefault(); clearTimeout(typing); search(true); $("words").blur(); });
$("looks").addEventListener("click", () => {
  const text = $("words").value.trim();
  $("words").value = "";
  go({ ...empty(), filters: state.filters, diversity: state.diversity, texts: [text] });
});

function search(replace) {
  go({ ...empty(), filters: state.filters, diversity: state.diversity, words: $("words").value.trim() }, { replace: replace && !asks(state) });
}

// ---- keys, and everything else that is clicked ----

$("clear").addEventListener("click", () => go(empty()));
$("more").addEventListener("click", showMore);
$("diversity").addEventListener("change", () => go({ ...state, diversity: Number($("diversity").value) }, { replace: true }));
document.querySelector("[data-home]").addEventListener("click", (event) => { event.preventDefault(); go(empty()); });

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || document.querySelector("dialog[open]")) return;
  const typingNow = event.target.matches("input, textarea");
  if (event.key === "/" && !typingNow) { event.preventDefault(); $("words").focus(); $("words").select(); return; }
  if (event.key === "Escape" && event.target === $("words")) { $("words").blur(); return; }
  if (typingNow && event.target !== $("words")) return;
  const cards = [...document.querySelectorAll(".card .open")];
  const at = cards.indexOf(event.target.closest(".card")?.querySelector(".open"));
  const columns = getComputedStyle($("grid")).gridTemplateColumns.split(" ").length;
  const step = { ArrowRight: 1, ArrowLeft: -1, ArrowDown: columns, ArrowUp: -columns }[event.key];
  if (event.target === $("words")) { if (event.key === "ArrowDown" && cards.length) { event.preventDefault(); cards[0].focus(); } return; }
  if (step && cards.length) {
    event.preventDefault();
    cards[at < 0 ? 0 : Math.max(0, Math.min(cards.length - 1, at + step))].focus();
  } else if (at >= 0 && "+-i".includes(event.key)) {
    const match = known.get(cards[at].closest(".card").dataset.id);
    ({ "+": on.like, "-": on.dislike, i: on.details })[event.key](match);
  }
});

$("token-form").addEventListener("submit", async (event) => {
  event.preventDefault();
  try {
    await openSession($("token").value);
    $("door").close();
    start();
  } catch (error) {
    $("door-wrong").textContent = error.status === 401 ? "That is not the token." : error.message;
    $("door-wrong").hidden = false;
  }
});

$("details").addEventListener("click", (event) => { if (event.target === $("details")) $("details").close(); });

// ---- the start ----

async function start() {
  $("filters").open = matchMedia("(min-width: 861px)").matches;
  try { info = await getInfo(); } catch { /* the question that follows will say what is wrong */ }
  if (info) $("footer").textContent = `${number(info.items)} items, ${number(info.images)} images · ${info.encoder}, generation ${info.generation} · arrows move, + likes, − dislikes, i tells why, / searches`;
  await refresh();
  try { facets = (await getFacets()).facets; showControls(); } catch { /* without filters, as long as they are not ready */ }
}

start();
