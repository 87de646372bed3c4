/** Morph: a way from picture to picture, to scrub, to play and to keep. */

import { command, commandBox } from "./curl.js";
import { button, download, el, slider, uniqueId } from "./dom.js";
import { intake } from "./intake.js";
import { latest } from "./latest.js";
import { paint, slice } from "./picture.js";
import { waypoints } from "./waypoints.js";

/** @typedef {import("./main.js").Context} Context */

const FPS = 12;
const MOST_STOPS = 16;
const MOST_FRAMES = 256; // of a whole morph, unless the server was set otherwise
const FILES = [
  ["WebP", "image/webp", "morph.webp"],
  ["GIF", "image/gif", "morph.gif"],
  ["Zip", "application/zip", "morph.zip"],
];

/**
 * @param {Context} context
 * @returns {import("./main.js").View}
 */
export function morph(context) {
  const { model, api } = context;
  /** @type {import("./npy.js").Tensor | null} */
  let frames = null; // all of the morph: scrubbing asks for nothing
  let isBegun = false;
  const canvas = el("canvas", { class: "pixels player", role: "img", "aria-label": "The morph", width: model.image.width, height: model.image.height });
  const stops = waypoints({ label: "Waypoints", announce: context.announce, changed: () => refresh() });
  const box = commandBox("the morph as a command");
  const note = el("p", { role: "status", class: "note" });

  const scrub = slider(
    "Along the way",
    { min: 0, max: 1, step: 1, value: 0 },
    (value) => (frames ? `frame ${value + 1} of ${frames.shape[0]}` : ""),
    (value) => {
      play.stop();
      show(value);
    },
  );
  const show = (/** @type {number} */ i) => {
    if (!frames) return;
    const { pixels, size } = slice(frames, i);
    paint(canvas, pixels, size);
  };
  const play = player((now) => {
    if (!frames) return;
    const last = frames.shape[0] - 1;
    const turn = Math.floor((now / 1000) * FPS) % Math.max(1, 2 * last); // there and back
    const i = turn > last ? 2 * last - turn : turn;
    scrub.set(i);
    show(i);
  });
  const length = slider(
    "Frames per leg",
    { min: 2, max: 96, step: 1, value: 24 },
    String,
    () => refresh(),
  );
  const path = choice("Path", ["slerp", "lerp"], () => refresh());
  const id = uniqueId();
  const exact = el("input", { type: "checkbox", id, checked: true, on: { change: () => refresh() } });

  const wanted = () => {
    /** @type {Record<string, string | number>} */
    const query = { frames: frameCount(), path: path.value() };
    if (exact.checked) query.exact = "true";
    return query;
  };
  const frameCount = () => {
    const legs = Math.max(1, stops.pictures().length - 1);
    return Math.max(2, Math.min(length.value(), Math.floor((MOST_FRAMES - 1) / legs) + 1));
  };
  const draw = latest(async () => {
    const pictures = stops.pictures().slice(0, MOST_STOPS);
    const isPossible = pictures.length > 1;
    for (const element of keep.children) /** @type {HTMLButtonElement} */ (element).disabled = !isPossible;
    if (!isPossible) {
      note.textContent = "Two pictures make a way, sixteen at most.";
      frames = null;
      box.set("");
      return;
    }
    await context.guard(async () => {
      const query = wanted();
      const made = await model.morph(pictures, query);
      const at = frames ? scrub.value() / Math.max(1, frames.shape[0] - 1) : 0;
      frames = made;
      scrub.input.max = String(made.shape[0] - 1);
      scrub.set(Math.round(at * (made.shape[0] - 1)));
      show(scrub.value());
      note.textContent = `${made.shape[0]} frames, all of them here.`;
      const ask = { query, pictures, accept: "image/webp", out: "morph.webp" };
      box.set(await command(api, `${model.path}/interpolate`, ask));
    });
  });
  const refresh = () => draw(undefined);

  const keep = el("div", { class: "row" }, ...FILES.map(([text, type, name]) =>
    button(`Save ${text}`, () => void context.guard(async () => {
      const pictures = stops.pictures().slice(0, MOST_STOPS);
      download(await model.morphFile(pictures, { ...wanted(), fps: FPS }, type), name);
    }), { class: "small" })));
  const samples = async () => {
    const seed = Math.floor(Math.random() * 2 ** 31);
    stops.add(await model.samples(1, isBegun ? seed : 7));
  };
  const gather = [
    intake({
      title: "Two or more pictures are the stops of a way through the model's space.",
      more: [button("Add a sample", () => void context.guard(samples))],
      onPictures: (pictures) => stops.add(pictures),
      isActive: () => context.isShown("morph"),
    }),
    stops.element,
  ];
  const settings = el(
    "section",
    { class: "panel", "aria-label": "Settings" },
    length.element,
    path.element,
    el("div", { class: "field check" }, exact, el("label", { htmlFor: id }, "Exact ends: begin and end with the pictures themselves")),
    note,
    el("h3", {}, "Keep it"),
    keep,
    box.element,
  );
  const element = el(
    "div",
    { class: "columns close" },
    el(
      "section",
      { "aria-label": "Player", class: "sticky" },
      el("div", { class: "stage" }, canvas),
      scrub.element,
      el("div", { class: "row" }, play.button),
    ),
    el("section", { "aria-label": "Waypoints and settings" }, ...gather, settings),
  );
  return {
    element,
    deactivate: () => play.stop(),
    activate: (pictures) => {
      if (!isBegun) {
        isBegun = true;
        void context.guard(async () => stops.add([...(pictures ?? []), ...(await model.samples(pictures ? 2 : 3, 7))]));
      } else if (pictures) {
        stops.add(pictures);
      }
    },
  };
}

/**
 * A button that plays and pauses.
 * @param {(now: number) => void} draw called for every frame of the screen, with ms since it began
 */
function player(draw) {
  let request = 0;
  let began = 0;
  const stop = () => {
    cancelAnimationFrame(request);
    request = 0;
    play.textContent = "Play";
  };
  const turn = (/** @type {number} */ now) => {
    began ||= now;
    draw(now - began);
    request = requestAnimationFrame(turn);
  };
  const play = button("Play", () => {
    if (request) {
      stop();
      return;
    }
    began = 0;
    play.textContent = "Pause";
    request = requestAnimationFrame(turn);
  }, { class: "primary" });
  return { button: play, stop };
}

/**
 * One of a few words.
 * @param {string} label
 * @param {string[]} words the first is chosen
 * @param {() => void} changed
 */
function choice(label, words, changed) {
  const name = uniqueId();
  const inputs = words.map((word, i) => el("input", { type: "radio", name, value: word, id: `${name}-${i}`, checked: i === 0, on: { change: changed } }));
  const element = el(
    "fieldset",
    { class: "field choice" },
    el("legend", {}, label),
    ...inputs.flatMap((input) => [input, el("label", { htmlFor: input.id }, input.value)]),
  );
  return { element, value: () => inputs.find((input) => input.checked)?.value ?? words[0] };
}
