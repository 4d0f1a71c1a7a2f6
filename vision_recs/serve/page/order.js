// The order of the items, and what is less similar than the rest.

import { pricesOf } from "./attributes.js";
import { hasQuery } from "./state.js";

// The orders that a person can choose: [what the state says, a name]; `date` is the attribute that says what is new.
export function ordersOf(state, facets, date) {
  const orders = [["", hasQuery(state) ? "Most similar" : state.search ? "Best match" : "Catalog"]];
  if (facets.some((facet) => facet.name === "price")) orders.push(["price", "Price, low to high"], ["-price", "Price, high to low"]);
  if (date) orders.push([`-${date}`, "Newest"]);
  if (state.sort && !orders.some(([value]) => value === state.sort)) orders.push([state.sort, state.sort]);
  return orders;
}

// Matches in the order of `sort`; those without the attribute come last.
export function inOrder(matches, sort) {
  if (!sort) return matches;
  const name = sort.replace(/^-/, ""), sign = sort.startsWith("-") ? -1 : 1;
  const value = (match) => (name === "price" ? pricesOf(match.attributes).now : match.attributes[name]) ?? null;
  const has = matches.filter((each) => value(each) !== null), lacks = matches.filter((each) => value(each) === null);
  const compare = (one, other) => (value(one) < value(other) ? -1 : value(one) > value(other) ? 1 : 0);
  return [...has.sort((one, other) => sign * compare(one, other)), ...lacks];
}

// The matches, and apart the last ones that are no more like the query than items taken at random: of a score below
// `weakBelow`. The order stays: what rules or shoppers have moved up is not weak.
export function parted(matches, state, weakBelow) {
  if (weakBelow === undefined || state.texts.length || state.diversity) return [matches, []];
  const near = matches.findLastIndex((match) => match.score >= weakBelow) + 1;
  return [matches.slice(0, near), matches.slice(near)];
}
