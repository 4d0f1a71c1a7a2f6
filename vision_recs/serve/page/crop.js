// The part of an image that is meant: a box that mouse, touch and keyboard draw, move and size.

import { $, make } from "./elements.js";

const LEAST = 0.05, STEP = 0.02, START = { x: 0.15, y: 0.15, width: 0.7, height: 0.7 };
const CORNERS = ["nw", "ne", "sw", "se"];

// Show the image in a dialog; call `onpart` with the part as the API takes it, "x,y,width,height", or "" for all of it.
export function choosePart(image, onpart) {
  let box = image.crop ? parsed(image.crop) : { ...START };
  const frame = make("div", { classes: "crop-box", tabindex: "0", role: "application", id: "crop-box", onkeydown,
    "aria-label": "The part that is meant. Arrow keys move it, Shift and arrow keys size it, Home takes all of the image." },
    ...CORNERS.map((corner) => make("span", { classes: `crop-corner ${corner}`, "data-corner": corner })));
  const stage = make("div", { classes: "crop-stage", onpointerdown }, make("img", { src: image.url, alt: image.name, draggable: "false" }), frame);
  const done = (part) => { $("crop").close(); onpart(part); };
  $("crop").replaceChildren(
    make("h2", { text: "Which part is meant?", id: "crop-title" }),
    make("p", { classes: "soft", text: "Draw a box, or move it and its corners." }),
    stage,
    make("div", { classes: "crop-foot" },
      make("button", { classes: "button", type: "button", text: "All of the image", onclick: () => done("") }),
      make("button", { classes: "button strong", type: "button", text: "Search with this part", onclick: () => done(text(box)) })));
  show();
  $("crop").showModal();
  frame.focus();

  function show() {
    Object.assign(frame.style, { left: percent(box.x), top: percent(box.y), width: percent(box.width), height: percent(box.height) });
  }

  function onpointerdown(event) {
    if (event.button) return;
    event.preventDefault();
    const from = at(event), before = { ...box };
    const corner = event.target.dataset.corner;
    const change = corner ? sizing(before, corner) : event.target === frame ? moving(before, from) : (to) => between(from, to);
    const move = (next) => { box = change(at(next)); show(); };
    stage.setPointerCapture(event.pointerId);
    stage.addEventListener("pointermove", move);
    for (const end of ["pointerup", "pointercancel"]) {
      stage.addEventListener(end, () => {
        stage.removeEventListener("pointermove", move);
        if (box.width < LEAST || box.height < LEAST) box = before; // it was a click
        show();
        frame.focus();
      }, { once: true });
    }
  }

  function onkeydown(event) {
    const [across, down] = { ArrowLeft: [-STEP, 0], ArrowRight: [STEP, 0], ArrowUp: [0, -STEP], ArrowDown: [0, STEP] }[event.key] ?? [0, 0];
    if (event.key === "Home") box = { x: 0, y: 0, width: 1, height: 1 };
    else if (event.key === "Enter") { event.preventDefault(); return done(text(box)); } // else the key goes on to what has the focus then
    else if (!across && !down) return;
    else if (event.shiftKey) box = { ...box, width: inside(box.width + across, LEAST, 1 - box.x), height: inside(box.height + down, LEAST, 1 - box.y) };
    else box = { ...box, x: inside(box.x + across, 0, 1 - box.width), y: inside(box.y + down, 0, 1 - box.height) };
    event.preventDefault();
    show();
  }

  function at(event) {
    const { left, top, width, height } = stage.getBoundingClientRect();
    return { x: inside((event.clientX - left) / width, 0, 1), y: inside((event.clientY - top) / height, 0, 1) };
  }
}

const inside = (value, low, high) => Math.min(Math.max(value, low), high);
const percent = (share) => `${share * 100}%`;
const text = (box) => [box.x, box.y, box.width, box.height].map((share) => share.toFixed(4)).join();

function parsed(crop) {
  const [x, y, width, height] = crop.split(",").map(Number);
  return { x, y, width, height };
}

const between = (one, other) => ({ x: Math.min(one.x, other.x), y: Math.min(one.y, other.y),
  width: Math.abs(one.x - other.x), height: Math.abs(one.y - other.y) });

const moving = (box, from) => (to) => ({ ...box,
  x: inside(box.x + to.x - from.x, 0, 1 - box.width), y: inside(box.y + to.y - from.y, 0, 1 - box.height) });

// The corner that is dragged moves; the one across from it stays.
function sizing(box, corner) {
  const still = { x: corner.endsWith("e") ? box.x : box.x + box.width, y: corner.startsWith("s") ? box.y : box.y + box.height };
  return (to) => between(still, to);
}
