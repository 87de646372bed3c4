/** Elements, made in one line each; text is always text, never markup. */

const SVG = "http://www.w3.org/2000/svg";

/**
 * @param {Element} element
 * @param {Record<string, any>} properties `on` holds listeners, `class`, `aria-*`, `data-*`, `role`
 *   and the like are attributes, all else is set as a property
 * @param {(Node | string | null)[]} children
 */
function furnish(element, properties, children) {
  for (const [name, value] of Object.entries(properties)) {
    if (value === undefined || value === null) continue;
    if (name === "on") {
      for (const [event, listener] of Object.entries(value)) element.addEventListener(event, listener);
    } else if (name in element && !name.includes("-") && element instanceof HTMLElement) {
      /** @type {any} */ (element)[name] = value;
    } else {
      element.setAttribute(name, String(value));
    }
  }
  for (const child of children) if (child !== null && child !== "") element.append(child);
  return element;
}

/**
 * An HTML element.
 * @param {string} tag
 * @param {Record<string, any>} [properties]
 * @param {...(Node | string | null)} children
 * @returns {any}
 */
export function el(tag, properties = {}, ...children) {
  return furnish(document.createElement(tag), properties, children);
}

/**
 * An SVG element.
 * @param {string} tag
 * @param {Record<string, any>} [properties]
 * @param {...(Node | string | null)} children
 * @returns {any}
 */
export function svg(tag, properties = {}, ...children) {
  return furnish(document.createElementNS(SVG, tag), properties, children);
}

let count = 0;

/** An id that no other element has. */
export function uniqueId() {
  count += 1;
  return `x${count}`;
}

/**
 * A slider with its label and its value in words.
 * @param {string} label
 * @param {{min: number, max: number, step: number | "any", value: number}} range
 * @param {(value: number) => string} words
 * @param {(value: number) => void} changed called on every movement
 * @returns {{element: HTMLElement, input: HTMLInputElement, value: () => number,
 *   set: (value: number) => void}}
 */
export function slider(label, range, words, changed) {
  const id = uniqueId();
  const output = el("output", { class: "value", htmlFor: id });
  const input = el("input", {
    id,
    type: "range",
    min: String(range.min),
    max: String(range.max),
    step: String(range.step),
    on: {
      input: () => {
        show();
        changed(Number(input.value));
      },
    },
  });
  const show = () => {
    output.textContent = words(Number(input.value));
    input.setAttribute("aria-valuetext", output.textContent);
  };
  const set = (/** @type {number} */ value) => {
    input.value = String(value);
    show();
  };
  set(range.value);
  const element = el(
    "div",
    { class: "field slider" },
    el("label", { htmlFor: id }, label),
    output,
    input,
  );
  return { element, input, value: () => Number(input.value), set };
}

/**
 * A button.
 * @param {string} text
 * @param {() => void} pressed
 * @param {Record<string, any>} [more]
 * @returns {HTMLButtonElement}
 */
export function button(text, pressed, more = {}) {
  return el("button", { type: "button", on: { click: pressed }, ...more }, text);
}

/**
 * Hand the browser a file to keep.
 * @param {Blob} blob
 * @param {string} name
 */
export function download(blob, name) {
  const url = URL.createObjectURL(blob);
  const link = el("a", { href: url, download: name, hidden: true });
  document.body.append(link);
  link.click();
  link.remove();
  setTimeout(() => URL.revokeObjectURL(url), 60_000);
}
