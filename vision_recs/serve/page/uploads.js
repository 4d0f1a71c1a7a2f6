// Images of a query: dropped, pasted, chosen, or taken with a camera.

import { $ } from "./elements.js";
import { keepImage } from "./images.js";

const MAX_IMAGES = 8, LARGE_BYTES = 600_000, MAX_SIDE = 1280;

// Call `onimages` with what a person brings: a list of {key, blob, name, url}, which is empty if none of the files is an image.
export function takeImages(onimages) {
  const take = async (files) => {
    const chosen = [...files].filter((file) => file.type.startsWith("image/")).slice(0, MAX_IMAGES);
    const blobs = await Promise.all(chosen.map(downscale));
    onimages(blobs.map((blob, at) => keepImage(blob, chosen[at].name || "pasted image")));
  };
  let depth = 0; // of elements that the pointer has entered
  const show = (isOver) => { $("drop").hidden = !isOver; };
  window.addEventListener("dragenter", (event) => { event.preventDefault(); depth += 1; show(true); });
  window.addEventListener("dragleave", () => { depth = Math.max(0, depth - 1); show(depth > 0); });
  window.addEventListener("dragover", (event) => event.preventDefault());
  window.addEventListener("drop", (event) => {
    event.preventDefault();
    depth = 0;
    show(false);
    if (event.dataTransfer.files.length) take(event.dataTransfer.files);
  });
  window.addEventListener("paste", (event) => { if (event.clipboardData.files.length) take(event.clipboardData.files); });
  $("file").addEventListener("change", () => { if ($("file").files.length) take($("file").files); $("file").value = ""; });
}

// The photo of a phone has 4 to 10 MB, and the encoder sees some 300 pixels of a side: 1,280 pixels are uploaded.
async function downscale(file) {
  if (file.size < LARGE_BYTES) return file;
  try {
    const bitmap = await createImageBitmap(file, { imageOrientation: "from-image" });
    const scale = Math.min(1, MAX_SIDE / Math.max(bitmap.width, bitmap.height));
    const canvas = new OffscreenCanvas(Math.round(bitmap.width * scale), Math.round(bitmap.height * scale));
    const context = canvas.getContext("2d");
    context.fillStyle = "#fff";
    context.fillRect(0, 0, canvas.width, canvas.height);
    context.drawImage(bitmap, 0, 0, canvas.width, canvas.height);
    return await canvas.convertToBlob({ type: "image/jpeg", quality: 0.92 });
  } catch {
    return file; // the browser cannot read this format; the server may
  }
}
