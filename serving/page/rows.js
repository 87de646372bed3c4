/** What is known of pictures, and how it comes to be known. */

import { ApiError } from "./api.js";

/** @typedef {import("./picture.js").Picture} Picture */
/**
 * @typedef {object} Row what is known of one picture
 * @property {Picture} picture
 * @property {HTMLElement} thumbnail
 * @property {"waiting" | "done" | "failed"} state
 * @property {string} error
 * @property {string | null} image the reconstruction
 * @property {number[] | null} latents
 * @property {Record<string, number> | null} terms
 * @property {number | null} score
 * @property {number | null} p
 * @property {string | null} heat
 * @property {Box | null} worst tile of a picture that was cut, in pixels of it
 * @property {number} tiles that it was cut into; 0: none
 * @property {string} note why it is not judged
 */
/** @typedef {{x: number, y: number, width: number, height: number}} Box */

const AT_ONCE = 32; // pictures in a request
const BYTES_AT_ONCE = 16 * 2 ** 20;

/**
 * @param {Picture} picture
 * @returns {Row} nothing is known of it yet
 */
export function row(picture) {
  return {
    picture,
    thumbnail: picture.thumbnail(),
    state: "waiting",
    error: "",
    image: null,
    latents: null,
    terms: null,
    score: null,
    p: null,
    heat: null,
    worst: null,
    tiles: 0,
    note: "",
  };
}

/**
 * Fill these rows in.  Whoever is at fault in a request is told, and the others asked for again.
 * @param {import("./model.js").Model} model
 * @param {Row[]} chunk
 * @param {string} term that is the score
 * @param {number} tile side of the tiles that pictures are cut into; 0: they are not
 * @param {() => boolean} isWanted whether they still are, once the answers are there
 */
export async function fill(model, chunk, term, tile, isWanted) {
  const pictures = chunk.map((row) => row.picture);
  try {
    const [made, scored, codes] = await Promise.all([
      model.has("reconstruct") && !tile ? model.reconstruct(pictures) : null,
      model.has("score") ? model.score(pictures, term, tile) : null,
      model.has("reconstruct") || !model.has("encode") || tile ? null : model.encodeAll(pictures),
    ]);
    if (!isWanted()) return;
    chunk.forEach((row, i) => {
      const result = scored?.results[i];
      row.state = "done";
      row.image = made?.images[i] ?? null;
      row.latents = made?.latents[i] ?? (codes ? [...codes[i]] : null);
      row.terms = result?.terms ?? null;
      row.score = result?.score ?? null;
      row.p = result?.p_value ?? null;
      row.heat = result?.heatmap ?? null;
      row.worst = result?.worst ?? null;
      row.tiles = result?.tiles ?? 0;
      row.note = scored?.note ?? "";
    });
  } catch (error) {
    if (!(error instanceof ApiError) || error.status >= 500) {
      chunk.forEach((row) => fail(row, String(/** @type {Error} */ (error).message)));
      throw error;
    }
    const guilty = new Map(error.items.map(({ index, detail }) => [index, detail]));
    const innocent = chunk.filter((_, i) => guilty.size && !guilty.has(i));
    chunk.forEach((row, i) => {
      if (!guilty.size || guilty.has(i)) fail(row, guilty.get(i) ?? error.message);
    });
    if (innocent.length) await fill(model, innocent, term, tile, isWanted);
  }
}

/**
 * @param {Row} row
 * @param {string} why
 */
function fail(row, why) {
  row.state = "failed";
  row.error = why;
}

/**
 * As many at once as one request should hold.
 * @param {Row[]} rows
 * @param {number} [most] of them
 */
export async function chunks(rows, most = AT_ONCE) {
  /** @type {Row[][]} */
  const found = [];
  let bytes = Infinity;
  for (const row of rows) {
    const { size } = await row.picture.file();
    const last = found.at(-1);
    if (last && last.length < most && bytes + size <= BYTES_AT_ONCE) {
      last.push(row);
      bytes += size;
    } else {
      found.push([row]);
      bytes = size;
    }
  }
  return found;
}
