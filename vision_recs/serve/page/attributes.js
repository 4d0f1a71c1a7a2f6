// What the attributes of an item mean to a shopper: its title, brand, price, badges, colors, and where it is sold.

// Its title; of an item without one what it is, as far as that is known, and else its id.
export function titleOf(id, attributes) {
  return String(attributes.title || attributes.name || capital(summaryOf(attributes)) || id);
}

const capital = (text) => text.slice(0, 1).toUpperCase() + text.slice(1);

// What stands below the title: what it is, or which one it is, unless the title says so.
export function subtitleOf(id, attributes) {
  const title = titleOf(id, attributes);
  return [summaryOf(attributes), id].find((text) => text && text !== title && capital(text) !== title) ?? "";
}

const SUMMARY_ATTRIBUTES = ["brand", "color", "colour", "material", "category"];

export function summaryOf(attributes) {
  return SUMMARY_ATTRIBUTES.filter((name) => attributes[name]).slice(0, 2).map((name) => attributes[name]).join(" · ");
}

// An amount of money, in the manner of the language of the browser.
export function money(amount, currency) {
  try {
    if (currency) return new Intl.NumberFormat(undefined, { style: "currency", currency }).format(amount);
  } catch { /* a currency that the browser does not know */ }
  return new Intl.NumberFormat(undefined, { minimumFractionDigits: 2, maximumFractionDigits: 2 }).format(amount);
}

const PRICES = ["sale_price", "price"];
const EARLIER_PRICES = ["list_price", "compare_at_price", "original_price", "regular_price", "rrp", "price"];

// What an item costs, which is what lists are sorted by, and what it cost before, if that was more: numbers, or null.
export function pricesOf(attributes) {
  const isGiven = (name) => typeof attributes[name] === "number" && (name === "price" || attributes[name] > 0); // shops write 0 for no other price
  const numbers = (names) => names.filter(isGiven).map((name) => attributes[name]);
  const prices = numbers(PRICES), now = prices.length ? Math.min(...prices) : null;
  const before = numbers(EARLIER_PRICES)[0] ?? null;
  return { now, before: now !== null && before > now ? before : null };
}

export const isMoney = (name) => PRICES.includes(name) || EARLIER_PRICES.includes(name);

export function isSoldOut(attributes) {
  const { in_stock, availability, stock } = attributes;
  return in_stock === false || stock === 0 || /^(out.of.stock|sold.out|discontinued)$/i.test(availability ?? "");
}

function isOnSale(attributes) {
  return attributes.sale === true || attributes.on_sale === true || pricesOf(attributes).before !== null;
}

// What an item is marked with: texts, each of a kind.
export function badgesOf(attributes) {
  const { now, before } = pricesOf(attributes);
  return [
    ...(isSoldOut(attributes) ? [{ kind: "sold", text: "Sold out" }] : []),
    ...(isOnSale(attributes) ? [{ kind: "sale", text: before ? `−${Math.round((1 - now / before) * 100)}%` : "Sale" }] : []),
  ];
}

const LINKS = ["url", "link", "product_url", "product_link", "permalink", "canonical_url", "href"];
const LINK = /(^|[_\W])(url|link|permalink|href|page)$/i;
const OTHER_LINK = /image|img|photo|picture|thumb|video|media|size|chart|guide|manual|brand|logo|3d|model|checkout|cart|availability|condition/i;

// The page of the product in the shop, or null: one address, of an attribute whose name says that it is a link, and not to something else.
export function productUrl(attributes) {
  const names = [...LINKS, ...Object.keys(attributes).filter((name) => LINK.test(name) && !OTHER_LINK.test(name))];
  return names.map((name) => attributes[name]).find(isAddress) ?? null;
}

const isAddress = (value) => typeof value === "string" && /^https?:\/\/\S+$/i.test(value) && !/[,;|]https?:/i.test(value);

const DATES = ["created_at", "created", "added_at", "added", "published_at", "published", "release_date", "date_added", "date"];

// The attribute that says since when there is an item, or null.
export const dateAttribute = (attributes) => DATES.find((name) => name in attributes) ?? null;

// The attribute that says of what an item is a variant, and its value, or null.
export const groupAttribute = (attributes) => ["variant_group", "item_group_id"].find((name) => (attributes[name] ?? null) !== null) ?? null;
export const groupOf = (attributes) => attributes[groupAttribute(attributes)] ?? null;

export const colorOf = (attributes) => attributes.color ?? attributes.colour ?? "";

const COLORS = { amber: "#d98e1f", anthracite: "#36393d", beige: "#e4d7bd", black: "#1d1d1d", blue: "#3564a8", brass: "#b59a4c", brown: "#6e4c35",
  burgundy: "#6d1f33", camel: "#c19a6b", charcoal: "#3a4147", copper: "#b4703f", coral: "#ea7a62", cream: "#f4ecd8", gold: "#c9a14a", gray: "#8b8f92",
  green: "#5d8a5e", grey: "#8b8f92", lavender: "#b9a7dd", mint: "#b4dcc6", mustard: "#cf9d1f", natural: "#d8c3a0", navy: "#26375e", nude: "#e0bfa5", oak: "#c49a6c", olive: "#7c7f4e",
  orange: "#de7b30", pink: "#e3a0b0", purple: "#6f4a8e", red: "#b8322a", rose: "#df9aa5", "rose gold": "#c98b7e", sage: "#9caf88", sand: "#d9c6a0",
  silver: "#c3c7ca", sky: "#9cc9ea", tan: "#b88e64", teal: "#2f7f7f", terracotta: "#c2613f", turquoise: "#45b8b4", walnut: "#5f4330", white: "#fbfbf9", yellow: "#e5bd3b" };

// A color of CSS that looks like a color with that name, or null.
export function cssColor(name) {
  const text = String(name).toLowerCase().trim();
  if (text in COLORS) return COLORS[text];
  const last = text.split(/[\s/,-]+/).at(-1);
  return [text.replaceAll(" ", ""), COLORS[last] ?? last].find((each) => each && CSS.supports("color", each)) ?? null;
}

export const number = (value) => new Intl.NumberFormat(undefined, { maximumFractionDigits: 2 }).format(value);

export const count = (total, one, many = one + "s") => `${number(total)} ${total === 1 ? one : many}`;

export const labelOf = (attribute) => attribute.replaceAll("_", " ");

// The elements of a set, which is a list in JSON, or null for any other value.
function elementsOf(value) {
  if (typeof value !== "string" || !value.startsWith("[")) return null;
  try {
    const found = JSON.parse(value);
    return Array.isArray(found) ? found : null;
  } catch { return null; }
}

export function valueText(value) {
  if (typeof value === "boolean") return value ? "yes" : "no";
  return elementsOf(value)?.join(", ") ?? String(value);
}

export const brandOf = (attributes) => attributes.brand ?? attributes.vendor ?? attributes.manufacturer ?? "";
