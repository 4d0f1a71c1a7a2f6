// What this browser tells the server, if that keeps events: which items of an answer were seen, and which were opened.
// The browser has a name of its own, made up here; the server keeps a pseudonym of that.

const SEND_MS = 500, NAME = "visrec-shopper";

// Tells the server at `address` which of the items of an answer come into view, and which are opened.
export class Reporter {
  #answer;
  #places = new Map(); // id of an item -> its place in the answer
  #waiting = [];
  #timer = 0;
  #observer = new IntersectionObserver((entries) => {
    for (const entry of entries) {
      if (!entry.isIntersecting) continue;
      this.#observer.unobserve(entry.target);
      this.#tell("shown", entry.target.dataset.id);
    }
  }, { threshold: 0.5 });

  constructor(address) {
    this.address = address;
    window.addEventListener("pagehide", () => this.#send());
  }

  // There are `cards`: elements with the ids of the matches of the answer `id`, or of other items if that is undefined.
  answered(id, cards) {
    this.#send();
    this.#observer.disconnect();
    this.#places.clear();
    this.#answer = id;
    if (!id) return;
    cards.forEach((card, at) => { this.#places.set(card.dataset.id, at + 1); this.#observer.observe(card); });
  }

  opened(item) { this.#tell("click", item); }

  #tell(type, item) {
    if (!this.#answer || !this.#places.has(item)) return;
    this.#waiting.push({ type, item, answer: this.#answer, place: this.#places.get(item) });
    if (type === "click") this.#send();
    else this.#timer ||= setTimeout(() => this.#send(), SEND_MS);
  }

  #send() {
    clearTimeout(this.#timer);
    this.#timer = 0;
    if (this.#waiting.length) navigator.sendBeacon(this.address, JSON.stringify({ events: this.#waiting }));
    this.#waiting = [];
  }
}

const reporter = new Reporter(new URL("../v1/events", import.meta.url));
let isOn = false;

export function keepEvents(on) { isOn = on; }

// Add to the parameters or the body of a query what makes its answer one to learn from.
export function withShopper(query) {
  if (!isOn) return query;
  if (query instanceof URLSearchParams) { query.set("shopper", shopper()); query.set("reports_shown", "true"); return query; }
  return { ...query, shopper: shopper(), reports_shown: true };
}

function shopper() {
  let name = null;
  try { name = localStorage.getItem(NAME); } catch { /* a browser may forbid it: then each page is a shopper */ }
  name ??= crypto.getRandomValues(new Uint32Array(4)).join("-");
  try { localStorage.setItem(NAME, name); } catch { /* see above */ }
  return name;
}

export const answered = (id, cards) => reporter.answered(isOn ? id : undefined, cards);

export const opened = (item) => reporter.opened(item);
