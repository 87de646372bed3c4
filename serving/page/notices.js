/** What a view says where it has nothing to show. */

import { address } from "./api.js";
import { el } from "./dom.js";

/** @typedef {import("./model.js").Model} Model */

/**
 * For models that see no pictures.
 * @param {Model} model
 */
export function ofVectors({ info, path }) {
  const size = info.vector.size;
  return {
    element: el(
      "div",
      { class: "panel polite" },
      el("h3", {}, "No pictures here"),
      el("p", {}, `${info.name} takes vectors of ${size} numbers, not images, so there is nothing to see. It answers the same verbs in JSON:`),
      el("pre", { tabIndex: 0 }, el("code", {}, `curl -d '{"vectors": [[${new Array(size).fill(0).join(", ")}]]}' -H 'Content-Type: application/json' ${address(`${path}/encode`)}`)),
    ),
  };
}

/**
 * For views that want a graph which the model came without.
 * @param {Model} model
 * @param {string} what
 */
export function lacking({ info }, what) {
  return {
    element: el(
      "div",
      { class: "panel polite" },
      el("h3", {}, "Not with this model"),
      el("p", {}, `${info.name} came without the graph ${what}, which this needs. It has ${Object.keys(info.graphs).join(", ")}.`),
    ),
  };
}
