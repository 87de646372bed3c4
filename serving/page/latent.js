/** Latent: move a picture's numbers and see at once what G makes of them. */

import { button, el, slider } from "./dom.js";
import { intake } from "./intake.js";
import { latest } from "./latest.js";
import { paint, slice } from "./picture.js";
import { strip } from "./strip.js";
import { waypoints } from "./waypoints.js";

/** @typedef {import("./main.js").Context} Context */
/** @typedef {import("./picture.js").Picture} Picture */

const FIRST = 10; // numbers shown before somebody asks for all
const MOST_PROBED = 256; // numbers whose effect is measured
const MOST_BYTES = 8 * 2 ** 20; // of pictures fetched to measure it
const WINDOW_MS = 1000;
const SLOW = 5; // pictures a second: somebody tries this and that, and does not drag

/**
 * @param {Context} context
 * @returns {import("./main.js").View}
 */
export function latent(context) {
  const { model } = context;
  const isUniform = model.info.latent.prior === "uniform";
  const reach = isUniform ? 1 : 3;
  const free = model.codes - (model.info.latent.categorical ?? 0); // the others are shares
  /** @type {Float32Array} */
  let base = new Float32Array(model.codes);
  /** @type {Float32Array} */
  let code = base.slice();
  /** @type {Float32Array | null} */
  let direction = null;
  let isBegun = false;

  const canvas = el("canvas", { class: "pixels", role: "img", "aria-label": "What G makes of the numbers", width: model.image.width, height: model.image.height });
  const numbers = el("div", { class: "numbers" });
  const rate = el("span", { class: "note" });
  const meter = frequency();
  const draw = latest(async () => {
    await context.guard(async () => {
      const { pixels, size } = slice(await model.decode([moved()]), 0);
      paint(canvas, pixels, size);
      const perSecond = meter();
      rate.textContent = perSecond < SLOW ? "" : `${perSecond} pictures a second`;
      canvas.dataset.drawn = String(Number(canvas.dataset.drawn ?? 0) + 1);
    });
  });
  const moved = () => {
    const by = direction ? along.value() : 0;
    return code.map((number, i) => number + by * (direction?.[i] ?? 0));
  };
  const refresh = () => {
    numbers.replaceChildren(strip(moved()));
    void draw(undefined);
  };

  const sliders = el("div", { class: "dimensions" });
  const all = button("Show all numbers", () => {
    isWhole = !isWhole;
    all.textContent = isWhole ? "Show fewer" : "Show all numbers";
    void list(order);
  }, { class: "small" });
  let isWhole = false;
  /** @type {Effect[]} */
  let order = [];
  const list = (/** @type {Effect[]} */ effects) => {
    const shown = isWhole ? effects : effects.slice(0, FIRST);
    all.hidden = effects.length <= FIRST;
    sliders.replaceChildren(...shown.map((effect) => dimension(effect)));
  };
  const dimension = (/** @type {Effect} */ { index, ends }) => {
    const control = slider(
      `Number ${index + 1}`,
      { min: index < free ? -reach : 0, max: index < free ? reach : 1, step: 0.01, value: code[index] },
      (value) => value.toFixed(2),
      (value) => {
        code[index] = value;
        refresh();
      },
    );
    const pictures = ends.map(({ pixels, size }) => {
      const thumbnail = el("canvas", { class: "pixels", "aria-hidden": "true" });
      paint(thumbnail, pixels, size);
      return thumbnail;
    });
    return el("div", { class: "dimension" }, pictures[0] ?? null, control.element, pictures[1] ?? null);
  };
  const rank = latest(async () => {
    await context.guard(async () => {
      order = await effects(model, base, reach);
      list(order);
    });
  });

  /** @param {Float32Array} from */
  const begin = (from) => {
    base = from;
    code = from.slice();
    refresh();
    void rank(undefined);
  };
  const start = (/** @type {Picture[]} */ [picture]) =>
    void context.guard(async () => begin(await model.encode(picture)));

  const along = slider(
    "From B to A",
    { min: -2, max: 2, step: 0.01, value: 0 },
    (value) => value.toFixed(2),
    () => refresh(),
  );
  along.input.disabled = true;
  const said = el("p", { class: "note", role: "status" }, "Put pictures into both groups: mean of A minus mean of B is a direction.");
  const groups = ["A", "B"].map((name) => group(context, name, () => void point(undefined)));
  const point = latest(async () => {
    const [a, b] = groups.map(({ pictures }) => pictures());
    direction = null;
    along.input.disabled = true;
    if (!a.length || !b.length) {
      refresh();
      return;
    }
    await context.guard(async () => {
      const codes = await model.encodeAll([...a, ...b]);
      const [from, to] = [mean(codes.slice(a.length)), mean(codes.slice(0, a.length))];
      direction = to.map((number, i) => number - from[i]);
      along.input.disabled = false;
      said.textContent = `A direction of length ${Math.hypot(...direction).toFixed(2)}, made of ${a.length} and ${b.length} pictures.`;
      refresh();
    });
  });

  const random = () => {
    const drawn = Float32Array.from({ length: model.codes }, isUniform ? () => 2 * Math.random() - 1 : normal);
    begin(drawn);
  };
  const row = el(
    "div",
    { class: "row" },
    button("Random", random, { class: "small" }),
    button("All zero", () => begin(new Float32Array(model.codes)), { class: "small" }),
    button("Back to the start", () => {
      code = base.slice();
      along.set(0);
      list(order);
      refresh();
    }, { class: "small" }),
  );
  const element = el(
    "div",
    { class: "columns latent" },
    el(
      "section",
      { "aria-label": "Picture", class: "sticky" },
      el("div", { class: "stage" }, canvas),
      numbers,
      el("div", { class: "row spread" }, row, rate),
    ),
    el(
      "section",
      { "aria-label": "Numbers" },
      model.has("encode")
        ? intake({ title: "Start from a picture of your own, or move what is here.", onPictures: start, isActive: () => context.isShown("latent") })
        : null,
      el("div", { class: "row spread" }, el("h3", {}, "Numbers that change it most"), all),
      sliders,
      ...(model.has("encode")
        ? [el("h3", {}, "A direction of your own"), said, el("div", { class: "groups" }, ...groups.map(({ element }) => element)), along.element]
        : []),
    ),
  );
  return {
    element,
    activate: (pictures) => {
      if (pictures) start(pictures);
      else if (!isBegun) {
        if (model.has("encode")) void context.guard(async () => start(await model.samples(1, 7)));
        else random();
      }
      isBegun = true;
    },
  };
}

/** @typedef {{index: number, size: number, ends: {pixels: Uint8Array, size: any}[]}} Effect */

/**
 * What each number does to the picture, the strongest first: the mean change between its ends.
 * @param {import("./model.js").Model} model
 * @param {Float32Array} code
 * @param {number} reach
 * @returns {Promise<Effect[]>}
 */
async function effects(model, code, reach) {
  const { height, width, channels } = model.image;
  const affordable = Math.floor(MOST_BYTES / (2 * height * width * channels));
  const count = Math.max(1, Math.min(model.codes, MOST_PROBED, affordable));
  const ends = [];
  for (let index = 0; index < count; index += 1) {
    for (const value of [-reach, reach]) ends.push(code.with(index, value));
  }
  const made = await model.decode(ends);
  /** @type {Effect[]} */
  const found = [];
  for (let index = 0; index < count; index += 1) {
    const [low, high] = [slice(made, 2 * index), slice(made, 2 * index + 1)];
    const size = low.pixels.reduce((sum, pixel, i) => sum + Math.abs(pixel - high.pixels[i]), 0);
    found.push({ index, size, ends: [low, high] });
  }
  const rest = Array.from({ length: model.codes - count }, (_, i) => ({ index: count + i, size: -1, ends: [] }));
  return [...found, ...rest].sort((a, b) => b.size - a.size);
}

/**
 * One side of a direction: pictures, and ways to add more.
 * @param {Context} context
 * @param {string} name
 * @param {() => void} changed
 */
function group(context, name, changed) {
  const stops = waypoints({ label: `Group ${name}`, announce: context.announce, changed });
  const element = el(
    "section",
    { class: "group", "aria-label": `Group ${name}` },
    el("h4", {}, `Group ${name}`),
    intake({
      title: "Drop or choose images.",
      more: context.model.has("decode")
        ? [button("Add a sample", () => void context.guard(async () => {
            stops.add(await context.model.samples(1, Math.floor(Math.random() * 2 ** 31)));
          }))]
        : [],
      onPictures: stops.add,
      isActive: () => false,
    }),
    stops.element,
  );
  return { element, pictures: stops.pictures };
}

/** @param {Float32Array[]} codes */
function mean(codes) {
  return codes[0].map((_, i) => codes.reduce((sum, code) => sum + code[i], 0) / codes.length);
}

/** One number from the normal distribution (Box and Muller 1958). */
function normal() {
  return Math.sqrt(-2 * Math.log(1 - Math.random())) * Math.cos(2 * Math.PI * Math.random());
}

/** Counts calls: how many there were in the last second, this one included. */
function frequency() {
  /** @type {number[]} */
  let times = [];
  return () => {
    const now = performance.now();
    times = [...times.filter((time) => now - time < WINDOW_MS), now];
    return times.length;
  };
}
