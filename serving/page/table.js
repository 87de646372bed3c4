/** A table that sorts by any of its columns, and its rows as CSV. */

import { button, el } from "./dom.js";

/**
 * @template T
 * @typedef {object} Column
 * @property {string} title
 * @property {(row: T) => number | string | boolean | null} value what is sorted by and written to CSV
 * @property {(row: T) => Node | string} [cell] what is shown, where it is not the value
 */

/**
 * @template T
 * @param {{columns: Column<T>[], caption: string, onChosen: (row: T) => void}} options
 */
export function table({ columns, caption, onChosen }) {
  let by = -1;
  let downwards = true;
  /** @type {T[]} */
  let rows = [];
  /** @type {T | null} */
  let chosen = null;
  const body = el("tbody");
  const heads = columns.map((column, i) =>
    el("th", { scope: "col" }, button(column.title, () => {
      downwards = by === i ? !downwards : true;
      by = i;
      draw();
    })),
  );
  const element = el(
    "div",
    { class: "scrolling", tabIndex: 0, role: "region", "aria-label": caption },
    el("table", {}, el("caption", { class: "unseen" }, caption), el("thead", {}, el("tr", {}, ...heads)), body),
  );
  const draw = () => {
    heads.forEach((head, i) => {
      if (i === by) head.setAttribute("aria-sort", downwards ? "descending" : "ascending");
      else head.removeAttribute("aria-sort");
    });
    const value = columns[by]?.value;
    const sorted = value ? [...rows].sort((a, b) => compare(value(a), value(b), downwards)) : rows;
    body.replaceChildren(
      ...sorted.map((row) =>
        el(
          "tr",
          { class: row === chosen ? "chosen" : "", on: { click: () => choose(row) } },
          ...columns.map(({ value, cell }) => el("td", {}, cell ? cell(row) : shown(value(row)))),
        ),
      ),
    );
  };
  const choose = (/** @type {T} */ row) => {
    chosen = row;
    draw();
    onChosen(row);
  };
  /**
   * @param {T[]} all
   * @param {T | null} one
   */
  const show = (all, one) => {
    rows = all;
    chosen = one;
    draw();
  };
  return { element, show };
}

/**
 * What nobody knows comes last, either way.
 * @param {any} a
 * @param {any} b
 * @param {boolean} downwards
 */
function compare(a, b, downwards) {
  if (a === null || b === null) return Number(a === null) - Number(b === null);
  const order = typeof a === "string" ? a.localeCompare(b, undefined, { numeric: true }) : a - b;
  return downwards ? -order : order;
}

/** @param {number | string | boolean | null} value */
function shown(value) {
  if (value === null) return "–";
  if (typeof value !== "number") return String(value);
  return String(Number(value.toPrecision(3)));
}

/**
 * The rows with every digit, as RFC 4180 has it.  Text that a spreadsheet would take for a formula
 * is kept from that.
 * @template T
 * @param {Column<T>[]} columns
 * @param {T[]} rows
 */
export function csv(columns, rows) {
  const field = (/** @type {unknown} */ value) => {
    const text = value === null ? "" : String(value);
    const safe = typeof value === "string" && /^[=+\-@\t\r]/.test(text) ? `'${text}` : text;
    return /[",\r\n]/.test(safe) ? `"${safe.replaceAll('"', '""')}"` : safe;
  };
  const lines = [columns.map(({ title }) => title), ...rows.map((row) => columns.map(({ value }) => value(row)))];
  return lines.map((line) => line.map(field).join(",") + "\r\n").join("");
}
