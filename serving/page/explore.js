/** Explore: a wall of samples; one of them is looked at more closely, and varied. */

import { command, commandBox } from "./curl.js";
import { button, el, slider, uniqueId } from "./dom.js";
import { latest } from "./latest.js";
import { paint, Picture, slice } from "./picture.js";
import { strip } from "./strip.js";

/** @typedef {import("./main.js").Context} Context */
/** @typedef {{label?: number}} Told of a conditional model, the number of a class */

const WALL = 42;
const VARIATIONS = 12;
const MOST = 2 ** 31;
const NARROW = 900; // CSS pixels: the closer look stands below the wall there

/**
 * @param {Context} context
 * @returns {import("./main.js").View}
 */
export function explore(context) {
  const { model, api, link } = context;
  const detail = closer(context);
  const box = commandBox("the wall as a command");
  const wall = el("div", { class: "wall", role: "group", "aria-label": "Samples" });
  /** @type {HTMLButtonElement[]} */
  const tiles = [];
  let chosen = 1;

  const id = uniqueId();
  const seed = el("input", {
    id,
    type: "number",
    min: "0",
    max: String(Number.MAX_SAFE_INTEGER),
    step: "1",
    value: /^\d{1,19}$/.test(link.get("seed") ?? "") ? link.get("seed") : "7",
    on: { input: () => seed.checkValidity() && seed.value !== "" && refresh() },
  });
  const label = classes(model, link.get("label"), () => refresh());
  const truncation = slider(
    "Truncation",
    { min: 0.1, max: 1, step: 0.05, value: Number(link.get("truncation")) || 0.8 },
    (value) => (value === 1 ? "1, as drawn" : `${value.toFixed(2)}, tamer`),
    () => refresh(),
  );
  const another = button("Another seed", () => {
    seed.value = String(Math.floor(Math.random() * MOST));
    refresh();
  });

  const draw = latest(async (/** @type {{seed: string, truncation: number}} */ wanted) => {
    await context.guard(async () => {
      const query = { n: WALL, ...wanted, ...label.query() };
      const made = await model.sample(query);
      for (let i = 0; i < WALL; i += 1) {
        const { pixels, size } = slice(made, i);
        paint(/** @type {HTMLCanvasElement} */ (tiles[i].firstElementChild), pixels, size);
        tiles[i].setAttribute("aria-label", `Sample ${i + 1} of seed ${wanted.seed}`);
      }
      wall.removeAttribute("aria-busy");
      told = label.query();
      choose(chosen, made, wanted.seed);
      const ask = { query, accept: "image/png", out: "samples.png" };
      box.set(await command(api, `${model.path}/sample`, ask));
      context.share({ seed: wanted.seed, truncation: String(wanted.truncation), ...label.shared() });
    });
  });
  const refresh = () => draw({ seed: seed.value, truncation: truncation.value() });

  /** @type {{shape: number[], data: any} | null} */
  let shown = null;
  /** @type {Told} */
  let told = {}; // what the wall was drawn with
  const choose = (/** @type {number} */ i, made = shown, from = seed.value) => {
    if (!made) return;
    shown = made;
    chosen = i;
    tiles.forEach((tile, j) => tile.setAttribute("aria-pressed", String(i === j)));
    void detail.show(new Picture(`sample-${from}-${i}`, slice(made, i)), from, told);
  };
  for (let i = 0; i < WALL; i += 1) {
    const canvas = el("canvas", { class: "pixels", width: model.image.width, height: model.image.height });
    tiles.push(
      button("", () => {
        choose(i);
        if (innerWidth < NARROW) detail.element.scrollIntoView({ behavior: "smooth" });
      }, { class: "tile", "aria-pressed": "false" }),
    );
    tiles[i].append(canvas);
  }
  wall.append(...tiles);
  wall.setAttribute("aria-busy", "true");

  const element = el(
    "div",
    { class: "columns" },
    el(
      "section",
      { "aria-label": "Wall of samples" },
      el(
        "div",
        { class: "controls" },
        el("div", { class: "field" }, el("label", { htmlFor: id }, "Seed"), el("div", { class: "row tight" }, seed, another)),
        label.element,
        truncation.element,
      ),
      wall,
      box.element,
    ),
    detail.element,
  );
  return { element, activate: () => void refresh() };
}

/**
 * Which class is drawn, of a conditional model; of others there is nothing to choose.
 * @param {import("./model.js").Model} model
 * @param {string | null} asked by the address of the page
 * @param {() => void} changed
 */
function classes(model, asked, changed) {
  if (!model.classes.length) return { element: null, query: () => ({}), shared: () => ({}) };
  const id = uniqueId();
  const options = model.classes.map((name, i) => el("option", { value: String(i) }, name));
  const choice = el("select", { id, on: { change: changed } }, el("option", { value: "" }, "not told"), ...options);
  choice.value = options.some((option) => option.value === asked) ? asked : "";
  return {
    element: el("div", { class: "field" }, el("label", { htmlFor: id }, "Class"), choice),
    query: () => /** @type {Told} */ (choice.value === "" ? {} : { label: Number(choice.value) }),
    shared: () => ({ label: choice.value }),
  };
}

/**
 * The panel beside the wall: picture, its numbers, what they decode to, and its neighbours.
 * @param {Context} context
 */
function closer(context) {
  const { model, api } = context;
  const original = el("canvas", { class: "pixels", role: "img", "aria-label": "The picture" });
  const numbers = el("div", { class: "numbers" });
  const again = el("img", { class: "pixels", alt: "The picture made again from its numbers" });
  const near = el("div", { class: "wall near", role: "group", "aria-label": "Variations" });
  const box = commandBox("the variations as a command");
  /** @type {Picture | null} */
  let picture = null;
  let seed = "0";
  /** @type {Told} */
  let told = {};

  const encode = latest(async (/** @type {Picture} */ wanted) => {
    if (!model.has("reconstruct")) return;
    await context.guard(async () => {
      const { images, latents } = await model.reconstruct([wanted], told);
      numbers.replaceChildren(strip(latents[0]));
      again.src = images[0];
    });
  });
  const vary = latest(async (/** @type {{of: Picture, strength: number}} */ { of, strength }) => {
    await context.guard(async () => {
      const query = { n: VARIATIONS, strength, seed, ...told };
      const made = await model.vary(of, query);
      const all = Array.from({ length: VARIATIONS }, (_, i) => new Picture(`variation-${i}`, slice(made, i)));
      if (near.childElementCount !== VARIATIONS) {
        near.replaceChildren(...all.map((_, i) => button("", () => undefined, { class: "tile", "aria-label": `Variation ${i + 1}: look closer` })));
        for (const tile of near.children) tile.append(el("canvas", { class: "pixels" }));
      }
      all.forEach((each, i) => {
        const tile = /** @type {HTMLButtonElement} */ (near.children[i]);
        if (each.pixels && each.size) paint(/** @type {HTMLCanvasElement} */ (tile.firstElementChild), each.pixels, each.size);
        tile.onclick = () => void show(each, seed, told);
      });
      const ask = { query, pictures: [of], accept: "image/png", out: "variations.png" };
      box.set(await command(api, `${model.path}/vary`, ask));
    });
  });
  const strength = slider(
    "How far to stray",
    { min: 0, max: 2, step: 0.05, value: 0.5 },
    (value) => value.toFixed(2),
    (value) => picture && void vary({ of: picture, strength: value }),
  );
  const show = async (/** @type {Picture} */ wanted, /** @type {string} */ from, /** @type {Told} */ label) => {
    picture = wanted;
    seed = from;
    told = label;
    if (wanted.pixels && wanted.size) paint(original, wanted.pixels, wanted.size);
    await Promise.all([
      encode(wanted),
      model.has("encode") ? vary({ of: wanted, strength: strength.value() }) : null,
    ]);
  };
  const to = (/** @type {string} */ text, /** @type {string} */ view) =>
    button(text, () => picture && context.show(view, [picture]), { class: "small" });
  const parts = [];
  if (model.has("reconstruct")) {
    parts.push(
      el("p", { class: "lead" }, `E turns this picture into ${model.codes} numbers; G turns them back into a picture.`),
      el(
        "div",
        { class: "through" },
        original,
        el("div", { class: "middle" }, numbers, el("span", { "aria-hidden": "true" }, "E →   → G")),
        again,
      ),
    );
  } else {
    parts.push(el("div", { class: "through" }, original));
  }
  parts.push(el("div", { class: "row" }, to("Look inside", "inspect"), to("Morph", "morph"), to("Latent", "latent")));
  if (model.has("encode")) {
    parts.push(el("h3", {}, "Close to it"), strength.element, near, box.element);
  }
  const element = el("section", { class: "panel", "aria-label": "Closer look", tabIndex: -1 }, ...parts);
  return { element, show };
}
