/** Latents as a row of bars, up for more than 0 and down for less. */

import { svg } from "./dom.js";

const REACH = 3; // where a bar is cut: of a normal prior 99.7 % lie within

/**
 * @param {ArrayLike<number>} code
 * @returns {SVGElement}
 */
export function strip(code) {
  const numbers = Array.from(code);
  const box = svg("svg", {
    class: "strip",
    viewBox: `0 ${-REACH} ${numbers.length} ${2 * REACH}`,
    preserveAspectRatio: "none",
    role: "img",
    "aria-label": describe(numbers),
  });
  numbers.forEach((number, i) => {
    const height = Math.min(REACH, Math.abs(number));
    box.append(
      svg("rect", {
        x: i + 0.12,
        y: number > 0 ? -height : 0,
        width: 0.76,
        height: Math.max(height, 0.02),
        class: number > 0 ? "up" : "down",
      }),
    );
  });
  return box;
}

/** @param {number[]} numbers */
function describe(numbers) {
  const length = Math.hypot(...numbers);
  const most = numbers.reduce((best, n, i) => (Math.abs(n) > Math.abs(numbers[best]) ? i : best), 0);
  return (
    `${numbers.length} latent numbers of length ${length.toFixed(2)}; ` +
    `the largest is number ${most + 1}, ${numbers[most].toFixed(2)}`
  );
}
