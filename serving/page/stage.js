/** One picture up close: original and reconstruction under a slider, the error's heat over both. */

import { el, slider } from "./dom.js";
import { frame } from "./picture.js";

const SIDE = 512; // pixels of a canvas, about
const FULL = 0.25; // heat that is coloured fully, at least: as in the server's own overlays
// Inferno's colours at 0, 1/4, 1/2, 3/4 and 1 (matplotlib, CC0), straight lines between.
const INFERNO = [[0, 0, 4], [87, 16, 110], [188, 55, 84], [249, 142, 9], [252, 255, 164]];

/** @typedef {import("./picture.js").Picture} Picture */

/**
 * @param {import("./model.js").Model} model
 */
export function stage(model) {
  const original = el("canvas", { class: "pixels", role: "img", "aria-label": "Original" });
  const made = el("canvas", { class: "pixels made", role: "img", "aria-label": "Reconstruction" });
  const heat = el("canvas", { class: "pixels heat", role: "img", "aria-label": "Heat map of the error" });
  const worst = el("div", { class: "worst", role: "img", "aria-label": "The most abnormal tile" });
  const handle = el("div", { class: "handle", "aria-hidden": "true" });
  const wipe = slider(
    "Original, left of the line, and reconstruction",
    { min: 0, max: 100, step: 1, value: 50 },
    (value) => (value === 100 ? "original" : value === 0 ? "reconstruction" : `${value} %`),
    (value) => box.style.setProperty("--wipe", `${value}%`),
  );
  const glow = slider(
    "Heat of the error",
    { min: 0, max: 100, step: 1, value: 35 },
    (value) => `${value} %`,
    (value) => box.style.setProperty("--heat", String(value / 100)),
  );
  const drag = (/** @type {PointerEvent} */ event) => {
    const { left, width } = box.getBoundingClientRect();
    wipe.set(Math.round(Math.min(1, Math.max(0, (event.clientX - left) / width)) * 100));
    box.style.setProperty("--wipe", `${wipe.value()}%`);
  };
  const box = el(
    "div",
    {
      class: "stage",
      on: {
        pointerdown: (/** @type {PointerEvent} */ event) => {
          box.setPointerCapture(event.pointerId);
          drag(event);
        },
        pointermove: (/** @type {PointerEvent} */ event) => {
          if (box.hasPointerCapture(event.pointerId)) drag(event);
        },
      },
    },
    original,
    made,
    heat,
    worst,
    handle,
  );
  box.style.setProperty("--wipe", "50%");
  box.style.setProperty("--heat", "0.35");
  const { height, width, channels } = model.image;
  box.style.aspectRatio = `${width} / ${height}`;
  if (channels === 1) original.classList.add("grey");
  // white in the server's map is then what few normal pixels reach, and not all there can be
  const isScaled = Boolean(model.info.score?.calibration?.heat);
  const zoom = Math.max(1, Math.round(SIDE / Math.max(height, width)));

  /** @type {unknown} */
  let newest = null;
  /**
   * @param {Picture} picture
   * @param {Pick<import("./rows.js").Row, "image" | "heat" | "worst">} answers
   */
  const show = async (picture, answers) => {
    newest = answers;
    const [source, image, warmth] = await Promise.all([
      picture.drawable().catch(() => null),
      loaded(answers.image),
      loaded(answers.heat),
    ]);
    if (newest !== answers) return; // somebody chose another meanwhile
    const whole = source && answers.worst ? source : null;
    box.style.aspectRatio = `${whole?.width ?? width} / ${whole?.height ?? height}`;
    if (whole) shrunk(original, whole);
    else if (source) frame(original, source, model.info, zoom);
    worst.hidden = whole === null;
    if (whole && answers.worst) {
      const { x, y, width: across, height: down } = answers.worst;
      const share = (/** @type {number} */ part, /** @type {number} */ all) => `${(100 * part) / all}%`;
      worst.style.left = share(x, whole.width);
      worst.style.top = share(y, whole.height);
      worst.style.width = share(across, whole.width);
      worst.style.height = share(down, whole.height);
    }
    made.hidden = handle.hidden = wipe.element.hidden = image === null;
    heat.hidden = glow.element.hidden = warmth === null;
    if (image) copy(made, image);
    if (warmth) colour(heat, warmth, isScaled);
  };
  return { box, controls: [wipe.element, glow.element], show };
}

/**
 * All of a picture, at its own resolution or as large as a canvas should be.
 * @param {HTMLCanvasElement} canvas
 * @param {CanvasImageSource & {width: number, height: number}} source
 */
function shrunk(canvas, source) {
  const scale = Math.min(1, (4 * SIDE) / Math.max(source.width, source.height));
  canvas.width = Math.max(1, Math.round(source.width * scale));
  canvas.height = Math.max(1, Math.round(source.height * scale));
  canvas.getContext("2d")?.drawImage(source, 0, 0, canvas.width, canvas.height);
}

/** @param {string | null} uri */
async function loaded(uri) {
  if (uri === null) return null;
  const image = new Image();
  image.src = uri;
  await image.decode();
  return image;
}

/**
 * @param {HTMLCanvasElement} canvas
 * @param {HTMLImageElement} image
 */
function copy(canvas, image) {
  canvas.width = image.naturalWidth;
  canvas.height = image.naturalHeight;
  const context = /** @type {CanvasRenderingContext2D} */ (canvas.getContext("2d", { willReadFrequently: true }));
  context.drawImage(image, 0, 0);
  return context;
}

/**
 * A grey map in colours, the clearer the cooler.
 * @param {HTMLCanvasElement} canvas
 * @param {HTMLImageElement} image
 * @param {boolean} isScaled whether white is full heat, whatever else is in the map
 */
function colour(canvas, image, isScaled) {
  const context = copy(canvas, image);
  const pixels = context.getImageData(0, 0, canvas.width, canvas.height);
  const { data } = pixels;
  let most = isScaled ? 255 : FULL * 255;
  for (let i = 0; i < data.length; i += 4) most = Math.max(most, data[i]);
  for (let i = 0; i < data.length; i += 4) {
    const strength = data[i] / most;
    const at = Math.min(INFERNO.length - 2, Math.floor(strength * (INFERNO.length - 1)));
    const t = strength * (INFERNO.length - 1) - at;
    for (let c = 0; c < 3; c += 1) data[i + c] = (1 - t) * INFERNO[at][c] + t * INFERNO[at + 1][c];
    data[i + 3] = 255 * Math.min(1, strength * 1.25);
  }
  context.putImageData(pixels, 0, 0);
}
