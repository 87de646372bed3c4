/** Look inside: pictures as the model sees them, what is wrong with them, and how sure that is. */

import { command, commandBox } from "./curl.js";
import { button, download, el, slider, uniqueId } from "./dom.js";
import { figure, histogram, threshold } from "./histogram.js";
import { intake, stranger } from "./intake.js";
import { chunks, fill, row } from "./rows.js";
import { stage } from "./stage.js";
import { strip } from "./strip.js";
import { csv, table } from "./table.js";

/** @typedef {import("./main.js").Context} Context */
/** @typedef {import("./picture.js").Picture} Picture */
/** @typedef {import("./rows.js").Row} Row */

const EXAMPLES = 5;

/**
 * @param {Context} context
 * @returns {import("./main.js").View}
 */
export function inspect(context) {
  const { model, api } = context;
  /** @type {Row[]} */
  let rows = [];
  /** @type {Row | null} */
  let chosen = null;
  let by = model.info.score.default;
  /** @type {{quantiles: Record<string, number[]>, counts: Record<string, number>} | null} */
  let calibration = null;
  const isCalibrated = model.has("score") && Boolean(model.info.score.calibration);
  const { height, width } = model.image;
  const isSquare = model.has("score") && height === width;

  const view = stage(model);
  const rate = slider(
    "False-alarm rate",
    { min: -3, max: Math.log10(0.5), step: "any", value: Math.log10(0.05) },
    (value) => percent(10 ** value),
    () => draw(),
  );
  const flagged = (/** @type {Row} */ row) => (row.p === null ? null : row.p <= 10 ** rate.value());
  const id = uniqueId();
  const term = el("select", { id, on: { change: () => {
    by = term.value;
    void ask(rows);
  } } }, ...model.terms.map((name) => el("option", { value: name, selected: name === by }, name)));

  const tileId = uniqueId();
  const cuts = el("input", {
    type: "checkbox",
    id: tileId,
    checked: isSquare && Boolean(model.info.score.calibration?.tiles),
    on: { change: () => void ask(rows) },
  });
  const tile = () => (cuts.checked ? width : 0);

  const decision = el("p", { class: "decision", role: "status" });
  const figures = el("dl", { class: "figures" });
  const chart = el("div", {});
  const numbers = el("div", { class: "numbers" });
  const title = el("h3", {});
  const box = commandBox("what is shown as a command");
  const columns = [
    { title: "Picture", value: (/** @type {Row} */ row) => row.picture.name, cell: picked },
    { title: "Decision", value: (/** @type {Row} */ row) => word(row), cell: chip },
    { title: "Score", value: (/** @type {Row} */ row) => row.score },
    { title: "p-value", value: (/** @type {Row} */ row) => row.p },
    ...model.terms.map((name) => ({
      title: name,
      value: (/** @type {Row} */ row) => row.terms?.[name] ?? null,
    })),
  ];
  const list = table({ columns, caption: "All pictures", onChosen: choose });
  const summary = el("p", { role: "status" });
  const save = button("Download CSV", () => {
    download(new Blob([csv(columns, rows)], { type: "text/csv" }), `${model.ref}-${by}.csv`);
  }, { class: "small" });
  const clear = button("Start over", () => {
    rows = [];
    chosen = null;
    draw();
  }, { class: "small" });

  const results = el(
    "div",
    { class: "columns close" },
    el("section", { "aria-label": "Picture up close" }, title, view.box, ...view.controls),
    el(
      "section",
      { class: "panel", "aria-label": "Judgement" },
      decision,
      model.has("score") && model.terms.length > 1
        ? el("div", { class: "field" }, el("label", { htmlFor: id }, "Score by"), term)
        : null,
      isSquare
        ? el(
            "div",
            { class: "row" },
            cuts,
            el("label", { htmlFor: tileId }, `Cut each picture into tiles of ${width} pixels, unshrunk`),
          )
        : null,
      chart,
      isCalibrated ? rate.element : null,
      figures,
      el("h3", {}, "Its numbers"),
      numbers,
    ),
  );
  const many = el(
    "section",
    { "aria-label": "All pictures" },
    el("div", { class: "row spread" }, summary, el("div", { class: "row" }, save, clear)),
    list.element,
  );
  const element = el(
    "div",
    {},
    intake({
      title: "Drop images here, paste them, or choose some: any size, any number.",
      more: model.has("decode")
        ? [button("Try examples", () => void context.guard(async () => {
            const made = await model.samples(EXAMPLES, 7);
            add([await stranger(), ...made]);
          }))]
        : [],
      onPictures: add,
      isActive: () => context.isShown("inspect"),
    }),
    results,
    box.element,
    many,
  );

  /** @param {Picture[]} pictures */
  function add(pictures) {
    const fresh = pictures.map(row);
    rows = [...rows, ...fresh];
    choose(fresh[0]);
    void ask(fresh);
  }

  /** @param {Row} row */
  function choose(row) {
    chosen = row;
    draw();
  }

  /** @param {Row[]} wanted */
  async function ask(wanted) {
    const [term, side] = [by, tile()];
    for (const chunk of await chunks(wanted, side ? 1 : undefined)) {
      await context.guard(async () => {
        if (isCalibrated) calibration ??= await model.calibration();
        await fill(model, chunk, term, side, () => term === by && side === tile());
      });
      draw();
    }
  }

  function draw() {
    results.hidden = many.hidden = rows.length === 0;
    many.hidden = rows.length < 2;
    const done = rows.filter((row) => row.state === "done");
    const bad = rows.filter((row) => row.state === "failed").length;
    const alarms = done.filter(flagged).length;
    summary.textContent =
      `${done.length} of ${rows.length} pictures looked at` +
      (isCalibrated ? `, ${alarms} flagged` : "") +
      (bad ? `, ${bad} could not be read` : "");
    list.show(rows, chosen);
    if (chosen) detail(chosen);
    else box.set("");
  }

  /** @param {Row} row */
  function detail(row) {
    title.textContent = row.picture.name;
    void view.show(row.picture, row);
    decision.replaceChildren(chip(row), " ", sentence(row));
    figures.replaceChildren(
      ...Object.entries(row.terms ?? {}).map(([name, value]) =>
        el("div", {}, el("dt", {}, name), el("dd", {}, figure(value))),
      ),
    );
    numbers.replaceChildren(...(row.latents ? [strip(row.latents)] : []));
    // scores of another kind than those that calibrated cannot stand among them
    const quantiles = row.p === null ? undefined : calibration?.quantiles[by];
    const limit = quantiles ? threshold(quantiles, calibration?.counts[by] ?? 0, 10 ** rate.value()) : null;
    chart.replaceChildren(
      ...(quantiles ? [histogram({ quantiles, score: row.score, limit, term: by })] : []),
    );
    const verb = model.has("score") ? "score" : "reconstruct";
    /** @type {Record<string, string | number>} */
    const query = {};
    if (verb === "score") Object.assign(query, { by }, tile() ? { tile: tile() } : {});
    if (isCalibrated) query.fpr = Number((10 ** rate.value()).toPrecision(3));
    void command(api, `${model.path}/${verb}`, { query, pictures: [row.picture] }).then((text) => {
      if (chosen === row) box.set(text);
    });
  }

  /** @param {Row} row */
  function word(row) {
    if (row.state !== "done") return row.state === "failed" ? "unreadable" : "…";
    const alarm = flagged(row);
    return alarm === null ? "not judged" : alarm ? "anomalous" : "normal";
  }

  /** @param {Row} row */
  function chip(row) {
    const said = word(row);
    return el("span", { class: `chip ${said === "…" ? "waiting" : said.replace(" ", "-")}`, title: row.error }, said);
  }

  /** @param {Row} row */
  function sentence(row) {
    if (row.state === "failed") return row.error;
    if (row.state === "waiting") return "the server is at it";
    if (!model.has("score")) return "this model has no score graph";
    if (row.p === null) return row.note + cut(row);
    const share = row.p > 0.1 ? `${Math.round(row.p * 100)} in 100` : `1 in ${Math.round(1 / row.p).toLocaleString("en")}`;
    // The smallest p-value there is: no calibration score was as high, and more might say less.
    const least = row.p * ((calibration?.counts[by] ?? Infinity) + 1) < 1.5 ? "at most " : "";
    return `p = ${figure(row.p)}: ${least}${share} normal images would score as high${cut(row)}`;
  }

  /** @param {Row} row */
  function cut(row) {
    return row.tiles ? `; the worst of ${row.tiles} tiles is outlined` : "";
  }

  /** @param {Row} row */
  function picked(row) {
    return el(
      "button",
      { type: "button", class: "name", title: row.error, "aria-pressed": String(row === chosen) },
      row.thumbnail,
      el("span", {}, row.picture.name),
    );
  }

  draw();
  return { element, activate: (pictures) => pictures && add(pictures) };
}

/** @param {number} share */
function percent(share) {
  return `${Number((share * 100).toPrecision(2))} %`;
}
