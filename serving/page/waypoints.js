/** A row of pictures in an order: moved by dragging, by arrow keys, or by buttons. */

import { button, el } from "./dom.js";

/** @typedef {import("./picture.js").Picture} Picture */

/**
 * @param {{label: string, announce: (text: string) => void, changed: (pictures: Picture[]) => void}} options
 */
export function waypoints({ label, announce, changed }) {
  /** @type {{picture: Picture, item: HTMLLIElement}[]} */
  let stops = [];
  const list = el("ol", { class: "waypoints", "aria-label": label });
  const pictures = () => stops.map(({ picture }) => picture);

  const place = () => {
    // Those that stand where they should are not touched: moving one takes the focus off it.
    stops.forEach(({ item }, i) => {
      if (list.children[i] !== item) list.insertBefore(item, list.children[i] ?? null);
    });
    stops.forEach(({ item, picture }, i) => {
      const [earlier, later] = item.querySelectorAll("button.move");
      /** @type {HTMLButtonElement} */ (earlier).disabled = i === 0;
      /** @type {HTMLButtonElement} */ (later).disabled = i === stops.length - 1;
      item.querySelector(".grip")?.setAttribute(
        "aria-label",
        `${picture.name}, ${i + 1} of ${stops.length}. Arrow keys move it, Delete removes it`,
      );
    });
  };
  /**
   * @param {HTMLLIElement} item
   * @param {number} to
   */
  const move = (item, to) => {
    const from = stops.findIndex((stop) => stop.item === item);
    if (to < 0 || to >= stops.length || to === from) return false;
    const [stop] = stops.splice(from, 1);
    stops.splice(to, 0, stop);
    place();
    announce(`${stop.picture.name} is now ${to + 1} of ${stops.length}`);
    return true;
  };
  /** @param {HTMLLIElement} item */
  const remove = (item) => {
    const at = stops.findIndex((stop) => stop.item === item);
    const [gone] = stops.splice(at, 1);
    item.remove();
    place();
    announce(`${gone.picture.name} removed`);
    /** @type {HTMLElement | null} */ (stops[Math.min(at, stops.length - 1)]?.item.querySelector(".grip"))?.focus();
    changed(pictures());
  };
  /** @param {Picture} picture */
  const make = (picture) => {
    const at = () => stops.findIndex((stop) => stop.item === item);
    const shift = (/** @type {number} */ by) => {
      const focused = /** @type {HTMLElement | null} */ (document.activeElement);
      if (move(item, at() + by)) changed(pictures());
      if (focused && item.contains(focused)) focused.focus();
    };
    const grip = el("button", {
      type: "button",
      class: "grip",
      on: {
        keydown: (/** @type {KeyboardEvent} */ event) => {
          const by = { ArrowLeft: -1, ArrowUp: -1, ArrowRight: 1, ArrowDown: 1 }[event.key];
          if (by) shift(by);
          else if (event.key === "Delete" || event.key === "Backspace") remove(item);
          else return;
          event.preventDefault();
          if (by) grip.focus();
        },
        pointerdown: (/** @type {PointerEvent} */ event) => {
          if (event.button === 0) drag(event, item);
        },
      },
    }, picture.thumbnail());
    const item = el(
      "li",
      {},
      grip,
      el(
        "div",
        { class: "row tight" },
        button("‹", () => shift(-1), { class: "move", "aria-label": `Move ${picture.name} earlier` }),
        button("×", () => remove(item), { class: "remove", "aria-label": `Remove ${picture.name}` }),
        button("›", () => shift(1), { class: "move", "aria-label": `Move ${picture.name} later` }),
      ),
    );
    return { picture, item };
  };
  /**
   * @param {PointerEvent} start
   * @param {HTMLLIElement} item
   */
  const drag = (start, item) => {
    const before = pictures();
    // Not by the item: it would lose the pointer whenever it changes its place.
    list.setPointerCapture(start.pointerId);
    const moved = (/** @type {PointerEvent} */ event) => {
      if (Math.hypot(event.clientX - start.clientX, event.clientY - start.clientY) > 6) {
        item.classList.add("dragged");
      }
      if (!item.classList.contains("dragged")) return;
      const over = document.elementsFromPoint(event.clientX, event.clientY)
        .map((element) => element.closest("li"))
        .find((other) => other && other !== item && other.parentElement === list);
      if (!over) return;
      const { left, width } = over.getBoundingClientRect();
      const to = stops.findIndex((stop) => stop.item === over);
      const from = stops.findIndex((stop) => stop.item === item);
      const past = event.clientX > left + width / 2;
      if ((to > from && past) || (to < from && !past)) move(item, to);
    };
    const ended = () => {
      list.removeEventListener("pointermove", moved);
      item.classList.remove("dragged");
      if (before.some((picture, i) => picture !== stops[i]?.picture)) changed(pictures());
    };
    list.addEventListener("pointermove", moved);
    list.addEventListener("lostpointercapture", ended, { once: true });
  };
  /** @param {Picture[]} more */
  const add = (more) => {
    stops = [...stops, ...more.map(make)];
    place();
    changed(pictures());
  };
  return { element: list, add, pictures };
}
