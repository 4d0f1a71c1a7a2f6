// The filters beside the grid, made of the facets of the API.

import { labelOf, make, number } from "/page/elements.js";

const FIRST = ["category", "price", "color", "colour", "brand"];
const rank = (facet) => (FIRST.indexOf(facet.name) + FIRST.length + 1) % (FIRST.length + 1) + (facet.kind === "number" ? 0.5 : 0);

export function showFacets(form, facets, state, onchange) {
  const sorted = [...facets].sort((one, other) => rank(one) - rank(other));
  form.replaceChildren(...sorted.map((facet) =>
    facet.kind === "number" ? rangeFacet(facet, state, onchange) : valueFacet(facet, state, onchange)));
}

function valueFacet(facet, state, onchange) {
  const selected = state.filters.get(facet.name);
  const options = facet.counts.map(([value, count]) => {
    const box = make("input", { type: "checkbox", checked: selected instanceof Set && selected.has(value), onchange: () => {
      const values = new Set(state.filters.get(facet.name) ?? []);
      if (box.checked) values.add(value); else values.delete(value);
      if (values.size) state.filters.set(facet.name, values); else state.filters.delete(facet.name);
      onchange();
    } });
    const text = typeof value === "boolean" ? (value ? "yes" : "no") : value;
    return make("label", { classes: "option" }, box, make("span", { text, title: text }), make("small", { text: number(count) }));
  });
  return make("fieldset", { classes: "facet" },
    make("legend", { text: labelOf(facet.name) }), make("div", { classes: "options" }, ...options));
}

function rangeFacet(facet, state, onchange) {
  const steps = facet.histogram.length;
  const valueAt = stepValues(facet, steps);
  const stepOf = (value) => Math.round((value - facet.min) / (facet.max - facet.min) * steps);
  const selected = state.filters.get(facet.name);
  const [low, high] = Array.isArray(selected) ? selected : [facet.min, facet.max];
  const bars = histogramBars(facet.histogram);
  const labels = [make("span"), make("span")];
  const sliders = [["from", low], ["to", high]].map(([word, value]) => make("input", { type: "range", min: 0, max: steps,
    value: stepOf(value), "aria-label": `${labelOf(facet.name)} ${word}`, oninput: show, onchange: commit }));
  function show() {
    const [from, to] = sliders.map((slider) => Number(slider.value)).sort((one, other) => one - other);
    bars.forEach((bar, step) => bar.classList.toggle("selected", step >= from && step < Math.max(to, from + 1)));
    labels[0].textContent = number(valueAt(from));
    labels[1].textContent = number(valueAt(to));
    sliders.forEach((slider) => slider.setAttribute("aria-valuetext", number(valueAt(Number(slider.value)))));
    return [from, to];
  }
  function commit() {
    const [from, to] = show();
    if (from === 0 && to === steps) state.filters.delete(facet.name);
    else state.filters.set(facet.name, [valueAt(from), valueAt(to)]);
    onchange();
  }
  show();
  return make("div", { classes: "facet", role: "group", "aria-label": labelOf(facet.name) },
    make("h2", { text: labelOf(facet.name) }),
    make("div", { classes: "bars", "aria-hidden": "true" }, ...bars),
    make("div", { classes: "range" }, ...sliders),
    make("div", { classes: "ends" }, ...labels));
}

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
  const highest = Math.max(...histogram);
  return histogram.map((count) => {
    const bar = make("i");
    bar.style.height = `${count ? 8 + 92 * Math.sqrt(count / highest) : 0}%`;
    return bar;
  });
}
