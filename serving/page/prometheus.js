/** Prometheus' text format, as far as a server of ours writes it. */

/** @typedef {{labels: Record<string, string>, value: number}} Sample */

/**
 * All samples by name.
 * @param {string} text
 * @returns {Map<string, Sample[]>}
 */
export function parse(text) {
  /** @type {Map<string, Sample[]>} */
  const found = new Map();
  for (const line of text.split("\n")) {
    const match = /^([A-Za-z_:][\w:]*)(?:\{(.*)\})?\s+(\S+)/.exec(line);
    if (!match || line.startsWith("#")) continue;
    const [, name, inside, value] = match;
    /** @type {Record<string, string>} */
    const labels = {};
    for (const [, key, text] of (inside ?? "").matchAll(/(\w+)="((?:[^"\\]|\\.)*)"/g)) {
      labels[key] = text.replace(/\\(.)/g, (_, c) => (c === "n" ? "\n" : c));
    }
    const sample = { labels, value: value === "+Inf" ? Infinity : Number(value) };
    found.set(name, [...(found.get(name) ?? []), sample]);
  }
  return found;
}

/**
 * The sum of those samples of `name` that `fits` takes.
 * @param {Map<string, Sample[]>} samples
 * @param {string} name
 * @param {(labels: Record<string, string>) => boolean} [fits]
 */
export function total(samples, name, fits = () => true) {
  return (samples.get(name) ?? []).reduce((sum, { labels, value }) => sum + (fits(labels) ? value : 0), 0);
}
