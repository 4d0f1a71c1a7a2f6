// What is asked, and how it is written in the address, so that it can be shared and the back button works.
//
// likes and dislikes are ids, texts are words that an encoder reads; images are files of this browser, which an
// address cannot hold. filters: name -> Set of values, or [low, high].

export function empty() {
  return { words: "", likes: [], dislikes: [], texts: [], images: [], diversity: 0, filters: new Map() };
}

export function asks(state) {
  return state.likes.length + state.texts.length + state.images.length > 0;
}

export function toAddress(state) {
  const query = new URLSearchParams();
  if (state.words) query.set("q", state.words);
  for (const id of state.likes) query.append("like", id);
  for (const id of state.dislikes) query.append("negative", id);
  for (const text of state.texts) query.append("text", text);
  if (state.diversity) query.set("diversity", state.diversity);
  for (const [name, wanted] of state.filters) {
    if (Array.isArray(wanted)) query.append("range." + name, wanted.join(".."));
    else for (const value of wanted) query.append("is." + name, JSON.stringify(value));
  }
  const text = query.toString();
  return text ? "/?" + text : "/";
}

export function fromAddress(search) {
  const state = empty();
  for (const [name, value] of new URLSearchParams(search)) {
    if (name === "q") state.words = value;
    else if (name === "like") state.likes.push(value);
    else if (name === "negative") state.dislikes.push(value);
    else if (name === "text") state.texts.push(value);
    else if (name === "diversity") state.diversity = Math.min(0.9, Math.max(0, Number(value) || 0));
    else if (name.startsWith("is.")) choose(state, name.slice(3), value);
    else if (name.startsWith("range.")) {
      const ends = value.split("..").map(Number);
      if (ends.length === 2 && ends.every(Number.isFinite)) state.filters.set(name.slice(6), ends);
    }
  }
  return state;
}

function choose(state, name, text) {
  let value;
  try { value = JSON.parse(text); } catch { return; }
  if (typeof value !== "string" && typeof value !== "boolean") return;
  const chosen = state.filters.get(name);
  if (chosen instanceof Set) chosen.add(value);
  else state.filters.set(name, new Set([value]));
}

// The filter that the server reads: see `visrec similar --where`.
export function where(state) {
  const parts = [];
  for (const [name, wanted] of state.filters) {
    const attribute = "`" + name.replaceAll("`", "``") + "`";
    if (Array.isArray(wanted)) parts.push(`${wanted[0]} <= ${attribute} <= ${wanted[1]}`);
    else if ([...wanted].every((value) => typeof value === "boolean")) {
      if (wanted.size === 1) parts.push(wanted.has(true) ? attribute : `${attribute} == false`);
    } else parts.push(`${attribute} in [${[...wanted].map((value) => JSON.stringify(value)).join(", ")}]`);
  }
  return parts.join(" and ");
}
