// The variants of items: those with the same variant group, which are asked for once for all cards.

import { getItems } from "./api.js";
import { groupOf } from "./attributes.js";
import { swatches } from "./items.js";
import { anyOf } from "./state.js";

const MAX_VARIANTS = 200; // of one request

const groups = new Map(); // variant group -> a promise of its items

const nameOf = (attributes) => ("variant_group" in attributes ? "variant_group" : "item_group_id");

// The items of the variant group of an item; none where it is in no group.
export async function variantsOf(match) {
  const group = groupOf(match.attributes);
  if (group === null) return [];
  if (!groups.has(group)) load(nameOf(match.attributes), [group]);
  return groups.get(group);
}

function load(name, values) {
  const loaded = getItems({ where: anyOf(name, values), limit: MAX_VARIANTS }).then((page) => page.items, () => []);
  for (const value of values) groups.set(value, loaded.then((items) => items.filter((each) => groupOf(each.attributes) === value)));
}

// Show on the card of each item, which `cardOf` gives, its variants; `onswap` gets the item and the variant that is wanted.
export async function showVariants(items, cardOf, onswap) {
  const grouped = items.filter((item) => groupOf(item.attributes) !== null);
  const missing = [...new Set(grouped.map((item) => groupOf(item.attributes)))].filter((group) => !groups.has(group));
  if (missing.length) load(nameOf(grouped[0].attributes), missing);
  for (const item of grouped) {
    const variants = await variantsOf(item);
    cardOf(item.id)?.querySelector(".swatches")?.replaceWith(swatches(item, variants, (variant) => onswap(item, variant)));
  }
}
