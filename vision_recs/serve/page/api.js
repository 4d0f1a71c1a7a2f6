// The calls of the HTTP API. A call that a newer one replaces is aborted by its signal.

// A response with an error: problem details (RFC 9457).
export class ApiError extends Error {
  constructor(problem, status) {
    super(problem.detail);
    this.problem = problem;
    this.status = status;
  }
}

async function call(path, options = {}) {
  const response = await fetch(path, options);
  if (response.ok) return response.status === 204 ? null : response.json();
  let problem = { detail: `the server answers with the status ${response.status}` };
  if ((response.headers.get("content-type") ?? "").startsWith("application/problem+json")) problem = await response.json();
  throw new ApiError(problem, response.status);
}

export const getInfo = () => call("/v1/info");
export const getFacets = () => call("/v1/facets");
export const getItem = (id) => call("/v1/items/" + encodeURIComponent(id));

export function getItems(search, where, offset, signal) {
  const query = new URLSearchParams({ limit: 48, offset });
  if (search) query.set("q", search);
  if (where) query.set("where", where);
  return call("/v1/items?" + query, { signal });
}

export function getSimilar(state, where, k, signal) {
  if (state.images.length) return postImages(state, where, k, signal);
  const query = new URLSearchParams({ k, explain: true });
  for (const id of state.likes) query.append("id", id);
  for (const id of state.dislikes) query.append("negative", id);
  for (const text of state.texts) query.append("text", text);
  if (where) query.set("where", where);
  if (state.diversity) query.set("diversity", state.diversity);
  return call("/v1/similar?" + query, { signal });
}

function postImages(state, where, k, signal) {
  const body = new FormData();
  for (const image of state.images) body.append("image", image.blob, image.name);
  const policy = state.diversity ? { diversity: state.diversity } : {};
  const query = { items: state.likes, negatives: state.dislikes, texts: state.texts, k, explain: true, policy };
  if (where) query.where = where;
  body.append("query", JSON.stringify(query));
  return call("/v1/similar/image", { method: "POST", body, signal });
}

export function logIn(token) {
  return call("/v1/session", {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify({ token }),
  });
}
