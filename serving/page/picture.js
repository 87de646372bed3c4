/** Pictures: files that somebody gave, or pixels that a model made. */

import { el } from "./dom.js";
import { png } from "./png.js";

/** @typedef {{height: number, width: number, channels: number}} Size */

const LARGEST_TILE = 128; // CSS pixels
const SMALLEST_TILE = 72;
const SMALLEST_ON_A_PHONE = 48;
const NOTHING = "data:image/svg+xml,<svg xmlns='http://www.w3.org/2000/svg'/>";

export class Picture {
  /** @type {Promise<Blob> | null} */
  #blob = null;
  #url = "";

  /**
   * @param {string} name
   * @param {{blob: Blob} | {pixels: Uint8Array, size: Size}} content
   * @param {boolean} [isOwn] whether it is a file that the user has, by this name
   */
  constructor(name, content, isOwn = false) {
    this.name = name;
    this.isOwn = isOwn;
    this.pixels = "pixels" in content ? content.pixels : null;
    this.size = "pixels" in content ? content.size : null;
    if ("blob" in content) this.#blob = Promise.resolve(content.blob);
  }

  /** The file: what somebody gave, or a PNG of every pixel. */
  file() {
    if (this.#blob === null && this.pixels && this.size) {
      this.#blob = png(this.pixels, this.size.height, this.size.width, this.size.channels);
    }
    return /** @type {Promise<Blob>} */ (this.#blob);
  }

  /** An address for an <img>, good for as long as the tab. */
  async url() {
    this.#url ||= URL.createObjectURL(await this.file());
    return this.#url;
  }

  /**
   * A small view of it; all of it is seen.
   * @returns {HTMLElement}
   */
  thumbnail() {
    if (this.pixels && this.size) {
      const canvas = el("canvas", { class: "pixels", role: "img", "aria-label": this.name });
      paint(canvas, this.pixels, this.size);
      return canvas;
    }
    const img = el("img", { alt: this.name, draggable: false, class: "photo" });
    img.addEventListener("load", () => img.classList.toggle("pixels", img.naturalWidth < LARGEST_TILE));
    // What is no picture has none: an empty tile instead of the browser's sign for a broken one.
    img.addEventListener("error", () => (img.src = NOTHING), { once: true });
    void this.url().then((url) => (img.src = url));
    return img;
  }

  /** @returns {Promise<CanvasImageSource & {width: number, height: number}>} */
  async drawable() {
    if (this.pixels && this.size) {
      const canvas = document.createElement("canvas");
      paint(canvas, this.pixels, this.size);
      return canvas;
    }
    return createImageBitmap(await this.file());
  }
}

/**
 * Show these pixels on the canvas, one to one; what was there is there until then.
 * @param {HTMLCanvasElement} canvas
 * @param {Uint8Array} pixels
 * @param {Size} size
 */
export function paint(canvas, pixels, { height, width, channels }) {
  if (canvas.width !== width || canvas.height !== height) {
    canvas.width = width;
    canvas.height = height;
  }
  const image = new ImageData(width, height);
  for (let i = 0; i < height * width; i += 1) {
    for (let c = 0; c < 3; c += 1) {
      image.data[4 * i + c] = pixels[channels * i + (channels === 3 ? c : 0)];
    }
    image.data[4 * i + 3] = 255;
  }
  canvas.getContext("2d")?.putImageData(image, 0, 0);
}

/**
 * Draw the picture where a model with this preprocessing sees it, at `zoom` times its resolution.
 * @param {HTMLCanvasElement} canvas
 * @param {CanvasImageSource & {width: number, height: number}} source
 * @param {{image: Size, preprocess: {fit: string, background: number | number[]}}} model
 * @param {number} zoom
 */
export function frame(canvas, source, { image, preprocess }, zoom) {
  const { width, height } = source;
  const ratios = [image.width / width, image.height / height];
  let [across, down] = ratios;
  if (preprocess.fit === "crop") across = down = Math.max(...ratios);
  if (preprocess.fit === "pad") across = down = Math.min(1, ...ratios); // small ones stay small
  const w = Math.max(1, width * across);
  const h = Math.max(1, height * down);
  let x = (image.width - w) / 2;
  let y = (image.height - h) / 2;
  if (across === 1 && down === 1) [x, y] = [Math.floor(x), Math.floor(y)];
  canvas.width = image.width * zoom;
  canvas.height = image.height * zoom;
  const context = /** @type {CanvasRenderingContext2D} */ (canvas.getContext("2d"));
  const levels = [preprocess.background].flat();
  context.fillStyle = `rgb(${[0, 1, 2].map((i) => levels[i % levels.length]).join(",")})`;
  context.fillRect(0, 0, canvas.width, canvas.height);
  context.fillStyle = "#fff"; // what shows through is white to the server
  context.fillRect(x * zoom, y * zoom, w * zoom, h * zoom);
  context.imageSmoothingEnabled = across * zoom < 1;
  context.imageSmoothingQuality = "high";
  context.drawImage(source, x * zoom, y * zoom, w * zoom, h * zoom);
}

/**
 * Sides of a tile in CSS pixels, so that a model's pixel is a whole number of them where it can be.
 * @param {Size} size
 */
export function tileSides({ height, width }) {
  const largest = Math.max(height, width);
  const side = (/** @type {number} */ least) =>
    Math.min(LARGEST_TILE, Math.ceil(least / largest) * largest);
  return { large: side(SMALLEST_TILE), small: side(SMALLEST_ON_A_PHONE) };
}

/**
 * Picture number i of an array [N, H, W, C].
 * @param {{shape: number[], data: Uint8Array | Float32Array}} array
 * @param {number} i
 */
export function slice({ shape, data }, i) {
  const [, height, width, channels] = shape;
  const length = height * width * channels;
  const pixels = /** @type {Uint8Array} */ (data).subarray(i * length, (i + 1) * length);
  return { pixels, size: { height, width, channels } };
}
