/** Status: what is served, on what, and how busy it is, from /v1/models and /metrics. */

import { el, svg } from "./dom.js";
import { parse, total } from "./prometheus.js";

/** @typedef {import("./main.js").Context} Context */
/** @typedef {import("./prometheus.js").Sample} Sample */

const EVERY_MS = 2_000;
const KEPT = 60; // readings in a curve

/**
 * @param {Pick<Context, "api" | "guard">} context
 * @returns {import("./main.js").View}
 */
export function status({ api, guard }) {
  const models = el("tbody");
  const batches = el("div", { class: "batches" });
  const answers = el("dl", { class: "figures" });
  const rows = gauge("images computed a second");
  const requests = gauge("answers a second");
  const wait = gauge("ms an answer takes");
  const queue = gauge("rows waiting now");
  /** @type {{at: number, samples: Map<string, Sample[]>} | null} */
  let before = null;
  let run = 0; // which reading goes on: only the newest may

  const read = async () => {
    const [listed, text] = await Promise.all([api.json("v1/models"), api.text("metrics")]);
    const now = { at: performance.now() / 1000, samples: parse(text) };
    models.replaceChildren(...listed.data.flatMap(versions));
    queue.show(total(now.samples, "biject_queue_rows"));
    batches.replaceChildren(...sizes(now.samples));
    answers.replaceChildren(...statuses(now.samples));
    if (before) {
      const rise = (/** @type {string} */ name, fits = anything) =>
        Math.max(0, total(now.samples, name, fits) - total(/** @type {any} */ (before).samples, name, fits));
      const seconds = now.at - before.at;
      rows.show(rise("biject_batch_rows_sum") / seconds);
      requests.show(rise("biject_requests_total", ({ verb }) => verb !== "") / seconds);
      const answered = rise("biject_request_seconds_count");
      wait.show(answered ? (1000 * rise("biject_request_seconds_sum")) / answered : null);
    }
    before = now;
  };
  const turn = async (/** @type {number} */ mine) => {
    while (run === mine) {
      if (document.visibilityState === "visible") await guard(read);
      await new Promise((resolve) => setTimeout(resolve, EVERY_MS));
    }
  };
  const element = el(
    "div",
    {},
    el("div", { class: "gauges" }, rows.element, requests.element, wait.element, queue.element),
    el(
      "section",
      { "aria-labelledby": "served" },
      el("h3", { id: "served" }, "Models"),
      el(
        "div",
        { class: "scrolling", tabIndex: 0, role: "region", "aria-labelledby": "served" },
        el(
          "table",
          {},
          el("thead", {}, el("tr", {}, ...["Name", "Version", "State", "Device"].map((head) => el("th", { scope: "col" }, head)))),
          models,
        ),
      ),
    ),
    el(
      "div",
      { class: "columns even" },
      el("section", { "aria-label": "Batches" }, el("h3", {}, "Rows in a batch, by graph"), batches),
      el("section", { "aria-label": "Answers" }, el("h3", {}, "Answers since the start"), answers),
    ),
  );
  return {
    element,
    activate: () => {
      run += 1;
      before = null;
      void turn(run);
    },
    deactivate: () => {
      run += 1;
    },
  };
}

const anything = (/** @type {Record<string, string>} */ _) => true;

/** @param {any} model */
function versions(model) {
  const all = model.versions ?? [model];
  return all.map((/** @type {any} */ one) =>
    el(
      "tr",
      {},
      el("th", { scope: "row" }, model.name),
      el("td", {}, String(one.version)),
      el("td", {}, el("span", { class: `chip ${one.state}`, title: one.reason ?? "" }, one.state), one.reason ? ` ${one.reason}` : ""),
      el("td", {}, one.state === "ready" ? (model.device ?? "–") : "–"),
    ),
  );
}

/** @param {Map<string, Sample[]>} samples */
function sizes(samples) {
  /** @type {Map<string, {le: number, value: number}[]>} */
  const graphs = new Map();
  for (const { labels, value } of samples.get("biject_batch_rows_bucket") ?? []) {
    const name = `${labels.model} ${labels.graph}`;
    const le = labels.le === "+Inf" ? Infinity : Number(labels.le);
    graphs.set(name, [...(graphs.get(name) ?? []), { le, value }]);
  }
  const charts = [...graphs].map(([name, buckets]) => {
    const counts = buckets.map(({ le, value }, i) => ({ le, n: value - (buckets[i - 1]?.value ?? 0), above: buckets[i - 1]?.le ?? 0 }));
    const most = Math.max(1, ...counts.map(({ n }) => n));
    const bars = counts.map(({ le, n, above }) => {
      const bar = el("span", { class: "bar" });
      bar.style.setProperty("--share", String(n / most));
      const range = le === Infinity ? `over ${above}` : String(le);
      return el("li", { title: `${n} batches of ${le === Infinity ? range : `up to ${le}`} rows` }, bar, el("span", {}, le === Infinity ? `${above}+` : range), el("span", { class: "unseen" }, `: ${n} batches`));
    });
    return el("figure", {}, el("figcaption", {}, name), el("ul", { class: "bars" }, ...bars));
  });
  return charts.length ? charts : [el("p", { class: "note" }, "No batch yet.")];
}

/** @param {Map<string, Sample[]>} samples */
function statuses(samples) {
  /** @type {Map<string, number>} */
  const counts = new Map();
  for (const { labels, value } of samples.get("biject_requests_total") ?? []) {
    counts.set(labels.status, (counts.get(labels.status) ?? 0) + value);
  }
  return [...counts].sort().map(([code, n]) => el("div", {}, el("dt", {}, code), el("dd", {}, n.toLocaleString("en"))));
}

/**
 * A figure and its curve.
 * @param {string} label
 */
function gauge(label) {
  /** @type {number[]} */
  let values = [];
  const figure = el("strong", {}, "–");
  const line = svg("polyline", {});
  const curve = svg("svg", { viewBox: `0 0 ${KEPT - 1} 20`, preserveAspectRatio: "none", "aria-hidden": "true" }, line);
  const show = (/** @type {number | null} */ value) => {
    figure.textContent = value === null ? "–" : value.toLocaleString("en", { maximumFractionDigits: value < 10 ? 1 : 0 });
    values = [...values, value ?? 0].slice(-KEPT);
    const most = Math.max(1e-9, ...values);
    const step = (KEPT - 1) / Math.max(1, values.length - 1); // few readings fill the width, too
    const points = values.map((v, i) => `${i * step},${19 - (18 * v) / most}`);
    line.setAttribute("points", points.join(" "));
  };
  return { element: el("div", { class: "gauge" }, figure, el("span", {}, label), curve), show };
}
