// The images of queries. The address of a page has no room for them, and browsers lose files in their history when a
// person goes back: the history has only a key. An image lives as long as the page; as far as there is room, a reload
// finds it again in the storage of the tab, which ends with the tab.

const PREFIX = "visrec-image ";
const kept = new Map(); // key -> {key, blob, name, url}

export function keepImage(blob, name) {
  const [key] = crypto.getRandomValues(new Uint32Array(1));
  const reader = new FileReader();
  reader.addEventListener("load", () => store(PREFIX + key, JSON.stringify({ name, data: reader.result })));
  reader.readAsDataURL(blob);
  return remember(key, blob, name);
}

// The images of an entry of the history, as `entryOf` makes it, without those that are lost.
export const imagesOf = (entry) => (entry?.images ?? []).map(({ key, crop }) => ({ ...imageOf(key), crop })).filter((image) => image.blob);

export const entryOf = (images) => ({ images: images.map(({ key, crop }) => ({ key, crop })) });

function remember(key, blob, name) {
  kept.set(key, { key, blob, name, url: URL.createObjectURL(blob) });
  return kept.get(key);
}

function imageOf(key) {
  if (kept.has(key)) return kept.get(key);
  try {
    const { name, data } = JSON.parse(sessionStorage.getItem(PREFIX + key));
    const [head, bytes] = data.split(",");
    const blob = new Blob([Uint8Array.from(atob(bytes), (letter) => letter.charCodeAt(0))], { type: head.slice(5).split(";")[0] });
    return remember(key, blob, name);
  } catch { return null; } // it had no room, or the browser forbids such storage
}

// Where the storage is full, the images of earlier searches give way.
function store(name, text) {
  try {
    try { sessionStorage.setItem(name, text); } catch {
      for (const other of Object.keys(sessionStorage)) if (other.startsWith(PREFIX)) sessionStorage.removeItem(other);
      sessionStorage.setItem(name, text);
    }
  } catch { /* a reload loses this image */ }
}
