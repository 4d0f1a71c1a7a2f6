// Filters, built from the attributes of the items.

import { make, number } from "/page/elements.js";

const FIRST = ["category", "price", "color", "brand"];
const rank = (facet) => (FIRST.indexOf(facet.name) + FIRST.length + 1) % (FIRST.length + 1) + (facet.kind === "range" ? 0.5 : 0);

export function showFacets(form, facets, state, changed) {
  const sorted = [...facets].sort((one, other) => rank(one) - rank(other));
  form.replaceChildren(...sorted.map((facet) =>
    facet.kind === "range" ? range(facet, state, changed) : choices(facet, state, changed)));
}

const spoken = (name) => name.replaceAll("_", " ");

function choices(facet, state, changed) {
  const chosen = state.filters.get(facet.name) ?? new Set();
  const options = facet.counts.map(([value, count]) => {
    const box = make("input", { type: "checkbox", checked: chosen instanceof Set && chosen.has(value), onchange: () => {
      const now = new Set(state.filters.get(facet.name) ?? []);
      if (box.checked) now.add(value); else now.delete(value);
      if (now.size) state.filters.set(facet.name, now); else state.filters.delete(facet.name);
      changed();
    } });
    const text = typeof value === "boolean" ? (value ? "yes" : "no") : value;
    return make("label", { classes: "option" }, box, make("span", { text, title: text }), make("small", { text: number(count) }));
  });
  return make("fieldset", { classes: "facet" },
    make("legend", { text: spoken(facet.name) }), make("div", { classes: "options" }, ...options));
}

function range(facet, state, changed) {
  const whole = Number.isInteger(facet.low) && Number.isInteger(facet.high) && facet.high - facet.low > 20;
  const steps = facet.bars.length;
  const at = (step) => {
    if (step === 0) return facet.low;
    if (step === steps) return facet.high;
    const value = facet.low + (facet.high - facet.low) * step / steps;
    return whole ? Math.round(value) : Number(value.toPrecision(3));
  };
  const stepOf = (value) => Math.round((value - facet.low) / (facet.high - facet.low) * steps);
  const wanted = state.filters.get(facet.name);
  const [low, high] = Array.isArray(wanted) ? wanted : [facet.low, facet.high];
  const most = Math.max(...facet.bars);
  const bars = facet.bars.map((count) => {
    const bar = make("i");
    bar.style.height = `${count ? 8 + 92 * Math.sqrt(count / most) : 0}%`;
    return bar;
  });
  const ends = [make("span"), make("span")];
  const sliders = [["from", low], ["to", high]].map(([word, value]) => make("input", { type: "range", min: 0, max: steps,
    value: stepOf(value), "aria-label": `${spoken(facet.name)} ${word}`, oninput: show, onchange: commit }));
  function show() {
    let [from, to] = sliders.map((slider) => Number(slider.value));
    if (from > to) [from, to] = [to, from];
    bars.forEach((bar, step) => bar.classList.toggle("in", step >= from && step < Math.max(to, from + 1)));
    ends[0].textContent = number(at(from));
    ends[1].textContent = number(at(to));
    sliders.forEach((slider) => slider.setAttribute("aria-valuetext", number(at(Number(slider.value)))));
    return [from, to];
  }
  function commit() {
    const [from, to] = show();
    if (from === 0 && to === steps) state.filters.delete(facet.name);
    else state.filters.set(facet.name, [at(from), at(to)]);
    changed();
  }
  show();
  return make("div", { classes: "facet", role: "group", "aria-label": spoken(facet.name) },
    make("h2", { text: spoken(facet.name) }),
    make("div", { classes: "bars", "aria-hidden": "true" }, ...bars),
    make("div", { classes: "range" }, ...sliders),
    make("div", { classes: "ends" }, ...ends));
}
