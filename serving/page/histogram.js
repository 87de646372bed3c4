/** How one score stands among those of normal images. */

import { svg } from "./dom.js";

const WIDTH = 400;
const HEIGHT = 132;
const FLOOR = 108; // y of the axis
const BINS = 44;

/**
 * Scores above the answer are anomalous at this false-alarm rate; null if none can be.
 * @param {number[]} quantiles evenly spaced calibration scores, ascending
 * @param {number} count of all calibration scores
 * @param {number} rate
 */
export function threshold(quantiles, count, rate) {
  const allowed = Math.floor(rate * (count + 1) + 1e-9); // ranks that may be flagged
  if (allowed < 1) return null;
  const rank = (count - allowed) / Math.max(1, count - 1);
  return quantiles[Math.min(quantiles.length - 1, Math.ceil(rank * (quantiles.length - 1) - 1e-9))];
}

/**
 * @param {{quantiles: number[], score: number | null, limit: number | null, term: string}} what
 * @returns {SVGElement}
 */
export function histogram({ quantiles, score, limit, term }) {
  const shown = [...quantiles, ...(score === null ? [] : [score]), ...(limit === null ? [] : [limit])];
  const isLog = Math.min(...shown) > 0;
  const scale = isLog ? Math.log10 : (/** @type {number} */ v) => v;
  const low = scale(Math.min(...shown));
  const high = Math.max(scale(Math.max(...shown)), low + 1e-9);
  const x = (/** @type {number} */ v) => 8 + ((scale(v) - low) / (high - low)) * (WIDTH - 16);
  const bins = new Array(BINS).fill(0);
  for (const v of quantiles) {
    bins[Math.min(BINS - 1, Math.floor(((scale(v) - low) / (high - low)) * BINS))] += 1;
  }
  const most = Math.max(...bins);
  const picture = svg("svg", {
    class: "histogram",
    viewBox: `0 0 ${WIDTH} ${HEIGHT}`,
    role: "img",
    "aria-label":
      `Histogram of ${term} over normal images` +
      (score === null ? "" : `; this image has ${figure(score)}`) +
      (limit === null ? "" : `; the threshold is ${figure(limit)}`),
  });
  const step = (WIDTH - 16) / BINS;
  bins.forEach((n, i) => {
    const height = (n / most) * (FLOOR - 22);
    const middle = 8 + (i + 0.5) * step;
    const over = limit !== null && middle > x(limit);
    if (n) {
      picture.append(
        svg("rect", {
          x: 8 + i * step + 0.5,
          y: FLOOR - height,
          width: step - 1,
          height,
          rx: 1,
          class: over ? "over" : "under",
        }),
      );
    }
  });
  picture.append(svg("line", { x1: 8, x2: WIDTH - 8, y1: FLOOR, y2: FLOOR, class: "axis" }));
  if (limit !== null) {
    picture.append(svg("line", { x1: x(limit), x2: x(limit), y1: 14, y2: FLOOR, class: "limit" }));
    picture.append(label(x(limit), 10, "threshold", "note"));
  }
  if (score !== null) {
    const at = x(score);
    picture.append(
      svg("path", { d: `M${at} ${FLOOR - 2}l-6 11h12z`, class: "marker" }),
      label(at, FLOOR + 21, `this image ${figure(score)}`, "mark"),
    );
  }
  return picture;
}

/**
 * @param {number} x
 * @param {number} y
 * @param {string} text
 * @param {string} kind
 */
function label(x, y, text, kind) {
  const anchor = x < 60 ? "start" : x > WIDTH - 60 ? "end" : "middle";
  return svg("text", { x, y, "text-anchor": anchor, class: kind }, text);
}

/** A number with three figures that count. */
export function figure(/** @type {number} */ value) {
  if (value === 0) return "0";
  return Math.abs(value) < 1e-3 || Math.abs(value) >= 1e4
    ? value.toExponential(2)
    : String(Number(value.toPrecision(3)));
}
