// The calls of the HTTP API. A call that a newer one replaces is aborted by its signal.

import { withShopper } from "./events.js";

// Where the server is: whatever path a proxy puts before it, this file lies in the folder page of it.
const ROOT = new URL("..", import.meta.url);

// An address of the API, which is relative to that of the server, as a browser needs it.
export const address = (path) => new URL(path, ROOT).href;

// A response with an error: problem details (RFC 9457).
export class ApiError extends Error {
  constructor(problem, status) {
    super(problem.detail);
    this.problem = problem;
    this.status = status;
  }
}

async function call(path, options = {}) {
  const response = await fetch(address(path), options);
  if (response.ok) return response.status === 204 ? null : response.json();
  let problem = { detail: `the server answers with the status ${response.status}` };
  if ((response.headers.get("content-type") ?? "").startsWith("application/problem+json")) problem = await response.json();
  throw new ApiError(problem, response.status);
}

export const getInfo = () => call("v1/info");
export const getItem = (id) => call("v1/item?" + new URLSearchParams({ id }));

// Items by words, a filter, or all: `limit` of them from `offset` on, sorted by an attribute.
export function getItems({ search = "", where = "", sort = "", offset = 0, limit = 48 }, signal) {
  return call("v1/items?" + given({ q: search, where, sort, limit, offset }), { signal });
}

export const getFacets = (search, where, signal) => call("v1/facets?" + given({ q: search, where }), { signal });

export function getSimilar(state, where, k, signal) {
  if (state.images.length) return postImages(state, where, k, signal);
  const query = given({ where, diversity: state.diversity, k, explain: true, cover: true });
  for (const id of state.likes) query.append("id", id);
  for (const id of state.dislikes) query.append("negative", id);
  for (const text of state.texts) query.append("text", text);
  return call("v1/similar?" + withShopper(query), { signal });
}

function postImages(state, where, k, signal) {
  const body = new FormData();
  for (const image of state.images) body.append("image", image.blob, image.name);
  if (state.images.some((image) => image.crop)) for (const image of state.images) body.append("crop", image.crop ?? "");
  const policy = state.diversity ? { diversity: state.diversity } : {};
  const query = { items: state.likes, negatives: state.dislikes, texts: state.texts, k, explain: true, cover: true, policy };
  if (where) query.where = where;
  body.append("query", JSON.stringify(withShopper(query)));
  return call("v1/similar/image", { method: "POST", body, signal });
}

export function logIn(token) {
  return call("v1/session", {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify({ token }),
  });
}

const given = (parameters) => new URLSearchParams(Object.entries(parameters).filter(([, value]) => value));
