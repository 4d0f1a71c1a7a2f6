// A product page as a shop may have it: what it shows comes from the API, and the widget stands below.

import { getItem, getItems } from "./api.js";
import { brandOf, labelOf, money, pricesOf, titleOf, valueText } from "./attributes.js";
import { $, make, picture } from "./elements.js";

const SHOWN = ["color", "material", "style", "category", "in_stock"];

async function show() {
  const id = new URLSearchParams(location.search).get("item") ?? (await getItems({ limit: 1 })).items[0].id;
  const { attributes, images } = await getItem(id), title = titleOf(id, attributes);
  const { now, before } = pricesOf(attributes);
  document.title = title;
  $("name").textContent = title;
  $("brand").textContent = brandOf(attributes);
  $("about").textContent = attributes.description ?? "";
  if (now !== null) $("price").append(make("b", { text: money(now, attributes.currency) }));
  if (before !== null) $("price").append(make("s", { text: money(before, attributes.currency) }));
  for (const name of SHOWN.filter((each) => attributes[each] !== undefined)) {
    $("attributes").append(make("dt", { text: labelOf(name) }), make("dd", { text: valueText(attributes[name]) }));
  }
  const enlarge = (image) => $("large").replaceChildren(picture(image.thumbnail, title, { lazy: false, side: 1280 }));
  $("small").append(...images.filter((image) => image.thumbnail).map((image, at) => make("button", { type: "button", "aria-label": `Image ${at + 1}`, onclick: () => enlarge(image) },
    picture(image.thumbnail, "", { side: 160 }))));
  enlarge(images[0]);
  $("similar").setAttribute("item", id);
  $("similar").hidden = false;
}

$("buy").addEventListener("click", () => { $("status").textContent = "In your cart."; });
show().catch((error) => { $("name").textContent = "This product cannot be shown"; $("status").textContent = error.message; });
