// Asking the server. An answer that a newer question has overtaken is dropped.

export class Failed extends Error {
  constructor(problem, status) {
    super(problem.message);
    this.problem = problem;
    this.status = status;
  }
}

export async function call(path, options = {}) {
  const response = await fetch(path, options);
  if (response.ok) return response.status === 204 ? null : response.json();
  let problem = { message: `the server answers with status ${response.status}`, type: "" };
  try { problem = (await response.json()).error; } catch { /* not from our server, as of a proxy */ }
  throw new Failed(problem, response.status);
}

export const getInfo = () => call("/v1/info");
export const getFacets = () => call("/v1/facets");
export const getItem = (id) => call("/v1/items/" + encodeURIComponent(id));

export function getItems(words, where, offset, signal) {
  const query = new URLSearchParams({ limit: 48, offset });
  if (words) query.set("q", words);
  if (where) query.set("where", where);
  return call("/v1/items?" + query, { signal });
}

export function getSimilar(state, where, k, signal) {
  if (state.images.length) return sendImages(state, where, k, signal);
  const query = new URLSearchParams({ k, explain: true });
  for (const id of state.likes) query.append("id", id);
  for (const id of state.dislikes) query.append("negative", id);
  for (const text of state.texts) query.append("text", text);
  if (where) query.set("where", where);
  if (state.diversity) query.set("diversity", state.diversity);
  return call("/v1/similar?" + query, { signal });
}

function sendImages(state, where, k, signal) {
  const body = new FormData();
  for (const image of state.images) body.append("image", image.blob, image.name);
  const policy = state.diversity ? { diversity: state.diversity } : {};
  const query = { items: state.likes, negatives: state.dislikes, texts: state.texts, k, explain: true, policy };
  if (where) query.where = where;
  body.append("query", JSON.stringify(query));
  return call("/v1/similar/image", { method: "POST", body, signal });
}

export function openSession(token) {
  return call("/v1/session", {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify({ token }),
  });
}
