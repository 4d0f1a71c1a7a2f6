// The variants of items: those with the same variant group, which are asked for once for all cards.

import { getItems } from "./api.js";
import { groupAttribute, groupOf } from "./attributes.js";
import { swatches } from "./items.js";
import { anyOf } from "./state.js";

const PAGE = 200, MAX_PAGES = 5; // of one list of variants

const groups = new Map(); // attribute and variant group -> a promise of its items

const keyOf = (name, group) => JSON.stringify([name, group]);

// The items of the variant group of an item, the first 1,000 of them; none where it is in no group.
export async function variantsOf(match) {
  const name = groupAttribute(match.attributes), group = groupOf(match.attributes);
  if (group === null) return [];
  if (!groups.has(keyOf(name, group))) load(name, [group]);
  return groups.get(keyOf(name, group));
}

// What has failed is asked for again the next time.
function load(name, values) {
  const loaded = itemsOf(name, values);
  for (const value of values) {
    const key = keyOf(name, value);
    groups.set(key, loaded.then(async ({ items, isWhole }) => {
      const all = isWhole || values.length === 1 ? items : (await itemsOf(name, [value])).items;
      return all.filter((each) => each.attributes[name] === value);
    }).catch(() => { groups.delete(key); return []; }));
  }
}

async function itemsOf(name, values) {
  const items = [];
  let offset = 0;
  for (let pages = 0; offset !== null && pages < MAX_PAGES; pages += 1) {
    const page = await getItems({ where: anyOf(name, values), limit: PAGE, offset });
    items.push(...page.items);
    offset = page.next_offset;
  }
  return { items, isWhole: offset === null };
}

// Show on the card of each item, which `cardOf` gives, its variants; `onswap` gets the item and the variant that is wanted.
export async function showVariants(items, cardOf, onswap) {
  const grouped = items.filter((item) => groupOf(item.attributes) !== null);
  for (const name of new Set(grouped.map((item) => groupAttribute(item.attributes)))) {
    const named = grouped.filter((item) => groupAttribute(item.attributes) === name);
    const missing = [...new Set(named.map((item) => groupOf(item.attributes)))].filter((group) => !groups.has(keyOf(name, group)));
    if (missing.length) load(name, missing);
  }
  for (const item of grouped) {
    const variants = await variantsOf(item);
    cardOf(item.id)?.querySelector(".swatches")?.replaceWith(swatches(item, variants, (variant) => onswap(item, variant)));
  }
}
