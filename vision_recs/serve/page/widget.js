// Similar items on the product page of a shop: a web component, and a script tag that puts it where it stands.
//
//   <script src="https://similar.shop.example/page/widget.js" data-item="mug-01" defer></script>
//   <visrec-similar item="mug-01" k="8" where="in_stock" heading="You may also like" link="/products/{id}"></visrec-similar>
//
// It looks for items when it comes near the window, sets no cookies and keeps nothing in the browser. `link` is the
// address of an item's page; without it, it is that which the item has as an attribute. `shopper` is a name that the
// shop gives to whoever looks, `events-key` the key of the server. The element sends the events "visrec-ready",
// "visrec-click" (with item, place and answer) and "visrec-error"; where there is nothing to show it hides itself.
(() => {
  const script = document.currentScript;
  const HERE = new URL(".", script?.src || addressOfScript());
  const STYLE = `
    :host { --_accent: var(--visrec-accent, currentColor); --_text: var(--visrec-text, inherit); --_soft: var(--visrec-soft, color-mix(in srgb, currentColor 72%, transparent));
      --_card: var(--visrec-card, transparent); --_line: var(--visrec-line, color-mix(in srgb, currentColor 16%, transparent)); --_radius: var(--visrec-radius, 14px);
      --_gap: var(--visrec-gap, 14px); --_width: var(--visrec-width, 190px);
      display: block; color: var(--_text); font: var(--visrec-font, inherit); container-type: inline-size; }
    :host([hidden]) { display: none; }
    * { box-sizing: border-box; margin: 0; }
    .head { display: flex; align-items: center; justify-content: space-between; gap: 12px; margin-bottom: 12px; min-height: 44px; }
    h2 { font: inherit; font-size: 1.25em; font-weight: 650; letter-spacing: -.01em; }
    ul { display: grid; grid-auto-flow: column; grid-auto-columns: min(var(--_width), 44cqi); gap: var(--_gap); padding: 3px; margin: -3px;
      list-style: none; overflow-x: auto; scroll-snap-type: x proximity; scrollbar-width: thin; }
    li { scroll-snap-align: start; display: grid; min-width: 0; }
    .card { position: relative; display: flex; flex-direction: column; padding: 0; border: 1px solid var(--_line); border-radius: var(--_radius);
      overflow: hidden; background: var(--_card); color: inherit; font: inherit; text-align: start; text-decoration: none; cursor: pointer; }
    .card:hover { border-color: var(--_accent); }
    .card:focus-visible, .step:focus-visible, ul:focus-visible { outline: 2px solid var(--_accent); outline-offset: 1px; }
    .image { position: relative; aspect-ratio: 1; background: #fff; } img { position: absolute; inset: 0; width: 100%; height: 100%; object-fit: contain; }
    .text { display: grid; gap: 4px; padding: 10px 12px 12px; flex: 1; align-content: space-between; font-size: .93em; line-height: 1.35; }
    .name { display: -webkit-box; -webkit-line-clamp: 2; -webkit-box-orient: vertical; overflow: hidden; min-height: 2.7em; overflow-wrap: anywhere; }
    .price { font-weight: 640; font-variant-numeric: tabular-nums; min-height: 1.35em; } s { font-weight: 400; color: var(--_soft); margin-inline-start: .5em; }
    .badge { position: absolute; top: 8px; left: 8px; padding: 2px 8px; border-radius: 7px; background: #26302b; color: #fff; font-size: .78em; font-weight: 600; }
    .steps { display: flex; gap: 6px; } .steps[hidden] { display: none; } .step { width: 40px; height: 40px; border: 1px solid var(--_line); border-radius: 50%; background: var(--_card); color: inherit; font: inherit; cursor: pointer; }
    .step:disabled { opacity: .45; cursor: default; }
    .empty .image, .empty .text { background: color-mix(in srgb, var(--_line) 45%, transparent); }`;

  // A script that was loaded as a module does not know itself.
  function addressOfScript() { return [...document.scripts].find((each) => /\/widget\.js(\?|$)/.test(each.src))?.src ?? location.href; }

  const load = (file) => import(new URL(file, HERE).href);

  class SimilarItems extends HTMLElement {
    static observedAttributes = ["item", "k", "where"];
    #observer = null;
    #reporter = null;
    #asked = 0;

    connectedCallback() {
      if (!this.shadowRoot) this.#build();
      this.#observer = new IntersectionObserver((entries) => {
        if (!entries.some((entry) => entry.isIntersecting)) return;
        this.#observer.disconnect();
        this.#observer = null;
        this.#show();
      }, { rootMargin: "500px" });
      this.#observer.observe(this);
    }

    disconnectedCallback() { this.#observer?.disconnect(); this.#reporter?.answered(undefined, []); }

    attributeChangedCallback() { if (this.shadowRoot && !this.#observer) this.#show(); }

    get #k() { return Math.max(1, Math.min(48, Number(this.getAttribute("k")) || 8)); }

    #build() {
      const root = this.attachShadow({ mode: "open" }), sheet = new CSSStyleSheet();
      sheet.replaceSync(STYLE);
      root.adoptedStyleSheets = [sheet];
      const heading = this.getAttribute("heading") ?? "Similar items";
      this.list = make("ul", { part: "list", "aria-label": heading, tabindex: "0" }, ...Array.from({ length: this.#k }, empty));
      const step = (text, label, by) => make("button", { class: "step", type: "button", part: "step", "aria-label": label,
        onclick: () => this.list.scrollBy({ left: by * this.list.clientWidth * 0.9, behavior: "smooth" }) }, text);
      this.steps = make("div", { class: "steps" }, step("‹", "Previous items", -1), step("›", "More items", 1));
      this.list.addEventListener("scroll", () => this.#showSteps(), { passive: true });
      new ResizeObserver(() => this.#showSteps()).observe(this.list);
      root.append(make("section", { "aria-label": heading }, make("div", { class: "head" }, make("h2", { part: "heading" }, heading), this.steps), this.list));
    }

    #showSteps() {
      const { scrollLeft, clientWidth, scrollWidth } = this.list, [previous, next] = this.steps.children;
      this.steps.hidden = scrollWidth <= clientWidth + 1;
      previous.disabled = scrollLeft <= 1;
      next.disabled = scrollLeft + clientWidth >= scrollWidth - 1;
    }

    async #show() {
      const asked = this.#asked += 1;
      try {
        const [attributes, { Reporter }, answer] = await Promise.all([load("attributes.js"), load("events.js"), this.#ask()]);
        if (asked !== this.#asked) return;
        const cards = answer.matches.map((match, at) => this.#card(match, at + 1, answer.answer, attributes));
        this.list.replaceChildren(...cards);
        this.hidden = !cards.length;
        this.#showSteps();
        this.#reporter ??= new Reporter(this.#address("v1/events", { key: this.getAttribute("events-key") }));
        this.#reporter.answered(answer.answer, cards);
        this.#tell("visrec-ready", { items: answer.matches.map((match) => match.id) });
      } catch (error) {
        if (asked !== this.#asked) return;
        this.hidden = true; // a shop's page shows no errors of others
        console.warn("visrec:", error.message);
        this.#tell("visrec-error", { message: error.message });
      }
    }

    #address(path, parameters = {}) {
      const url = new URL(`../${path}`, HERE);
      for (const [name, value] of Object.entries(parameters)) if (value) url.searchParams.set(name, value);
      return url.href;
    }

    async #ask() {
      const query = { id: this.getAttribute("item"), k: this.#k, where: this.getAttribute("where"), cover: true, shopper: this.getAttribute("shopper"), reports_shown: true };
      const response = await fetch(this.#address("v1/similar", query), { credentials: "same-origin" });
      const body = await response.json();
      if (!response.ok) throw new Error(body.detail);
      return body;
    }

    #card(match, place, answer, { badgesOf, money, pricesOf, productUrl, titleOf }) {
      const { attributes } = match, { now, before } = pricesOf(attributes);
      const link = this.getAttribute("link")?.replaceAll("{id}", encodeURIComponent(match.id)) ?? productUrl(attributes);
      const onclick = () => {
        this.#reporter.opened(match.id);
        this.#tell("visrec-click", { item: match.id, place, answer, link });
      };
      const price = now === null ? "" : money(now, attributes.currency);
      const [badge] = badgesOf(attributes);
      const thumbnail = match.cover ?? match.thumbnail; // none of an item without an image
      const image = !thumbnail ? "" : make("img", { src: this.#address(thumbnail, { side: "320" }), alt: "", loading: "lazy", decoding: "async", width: 320, height: 320 });
      const content = [make("div", { class: "image", part: "image" }, image),
        make("div", { class: "text" }, make("span", { class: "name", part: "title" }, titleOf(match.id, attributes)),
          make("span", { class: "price", part: "price" }, price, before === null ? "" : make("s", {}, money(before, attributes.currency)))),
        badge ? make("span", { class: "badge", part: "badge" }, badge.text) : ""];
      const card = link ? make("a", { class: "card", part: "card", href: link, onclick }, ...content)
        : make("button", { class: "card", part: "card", type: "button", onclick }, ...content);
      return make("li", { "data-id": match.id }, card);
    }

    #tell(name, detail) { this.dispatchEvent(new CustomEvent(name, { detail, bubbles: true, composed: true })); }
  }

  const empty = () => make("li", { "aria-hidden": "true" }, make("div", { class: "card empty" }, make("div", { class: "image" }),
    make("div", { class: "text" }, make("span", { class: "name" }), make("span", { class: "price" }))));

  function make(tag, attributes, ...children) {
    const element = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) {
      if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
      else element.setAttribute(name, value);
    }
    element.append(...children);
    return element;
  }

  if (!customElements.get("visrec-similar")) customElements.define("visrec-similar", SimilarItems);
  if (script?.dataset.item) {
    const element = document.createElement("visrec-similar");
    for (const { name, value } of script.attributes) if (name.startsWith("data-")) element.setAttribute(name.slice(5), value);
    script.after(element);
  }
})();
