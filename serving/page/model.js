/** One model of the server's, and what may be asked of it. */

import { NPY } from "./api.js";
import * as npy from "./npy.js";
import { slice, Picture } from "./picture.js";

/** @typedef {import("./picture.js").Size} Size */
/** @typedef {import("./npy.js").Tensor} Tensor */

export class Model {
  /**
   * @param {import("./api.js").Api} api
   * @param {string} ref NAME or NAME@VERSION
   * @param {any} info what GET /v1/models/{model} says
   */
  constructor(api, ref, info) {
    this.api = api;
    this.ref = ref;
    this.info = info;
    this.path = `v1/models/${ref}`;
    /** @type {Size} */
    this.image = info.image;
    /** @type {number} */
    this.codes = info.latent.size;
    /** @type {string[]} */
    this.terms = info.score.terms;
    /** @type {string[]} */
    this.classes = info.classes ?? []; // of a conditional model
  }

  /** Whether the model came with this graph: encode, decode, reconstruct, score. */
  has(/** @type {string} */ graph) {
    return graph in this.info.graphs;
  }

  get isOfImages() {
    return Boolean(this.info.image);
  }

  /**
   * n images drawn with this seed, [N, H, W, C].
   * @param {{n: number, seed: number | string, truncation: number, label?: number}} query
   */
  sample(query) {
    return this.api.array(`${this.path}/sample`, { query });
  }

  /**
   * The same as pictures.
   * @param {number} n
   * @param {number} seed
   */
  async samples(n, seed) {
    const made = await this.sample({ n, seed, truncation: 1 });
    return Array.from({ length: n }, (_, i) => new Picture(`sample ${i + 1} of seed ${seed}`, slice(made, i)));
  }

  /**
   * Images near this one.
   * @param {Picture} picture
   * @param {{n: number, strength: number, seed: number | string, label?: number}} query
   */
  async vary(picture, query) {
    return this.api.array(`${this.path}/vary`, { query, ...(await one(picture)) });
  }

  /**
   * @param {Picture} picture
   * @returns {Promise<Float32Array>} its Z numbers
   */
  async encode(picture) {
    return (await this.encodeAll([picture]))[0];
  }

  /**
   * @param {Picture[]} pictures
   * @returns {Promise<Float32Array[]>}
   */
  async encodeAll(pictures) {
    const { data, shape } = await this.api.array(`${this.path}/encode`, { body: await form(pictures) });
    const values = /** @type {Float32Array} */ (data);
    return pictures.map((_, i) => values.slice(i * shape[1], (i + 1) * shape[1]));
  }

  /**
   * The images of these codes, [N, H, W, C].
   * @param {Float32Array[]} codes
   */
  decode(codes) {
    const data = new Float32Array(codes.length * this.codes);
    codes.forEach((code, i) => data.set(code, i * this.codes));
    const body = npy.write({ shape: [codes.length, this.codes], data });
    return this.api.array(`${this.path}/decode`, { body, type: NPY });
  }

  /**
   * @param {Picture[]} pictures
   * @param {Record<string, number>} [query]
   * @returns {Promise<{images: string[], latents: number[][], l1: number[]}>}
   */
  async reconstruct(pictures, query = {}) {
    return this.api.json(`${this.path}/reconstruct`, { body: await form(pictures), query });
  }

  /**
   * @param {Picture[]} pictures
   * @param {string} by
   * @param {number} tile side of the tiles that they are cut into; 0: they are not
   * @returns {Promise<any>}
   */
  async score(pictures, by, tile) {
    const query = { by, heatmap: "map", ...(tile ? { tile } : {}) };
    return this.api.json(`${this.path}/score`, { body: await form(pictures), query });
  }

  /** The quantiles of each calibrated term. */
  async calibration() {
    return this.api.json(`${this.path}/calibration`);
  }

  /**
   * @param {Picture[]} pictures
   * @param {Record<string, string | number>} query
   */
  async morph(pictures, query) {
    return this.api.array(`${this.path}/interpolate`, { body: await form(pictures), query });
  }

  /**
   * The same as a file.
   * @param {Picture[]} pictures
   * @param {Record<string, string | number>} query
   * @param {string} accept
   */
  async morphFile(pictures, query, accept) {
    return this.api.blob(`${this.path}/interpolate`, { body: await form(pictures), query, accept });
  }
}

/** @param {Picture} picture */
async function one(picture) {
  const file = await picture.file();
  return { body: file, type: file.type || "application/octet-stream" };
}

/** @param {Picture[]} pictures */
async function form(pictures) {
  const form = new FormData();
  for (const picture of pictures) form.append("images", await picture.file(), picture.name);
  return form;
}
