/** The command that gets what is on the screen, to copy. */

import { address } from "./api.js";
import { button, el } from "./dom.js";

/** @typedef {import("./picture.js").Picture} Picture */

const SMALL = 24_000; // bytes of pictures that travel inside a command

/** @param {string} word */
function quoted(word) {
  return /^[\w@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", "'\\''")}'`;
}

/** @param {Blob} blob */
async function dataUri(blob) {
  const bytes = new Uint8Array(await blob.arrayBuffer());
  let text = "";
  for (const byte of bytes) text += String.fromCharCode(byte);
  return `data:${blob.type};base64,${btoa(text)}`;
}

/**
 * A shell command.  The user's own files are named as he would name them; pictures that the model
 * made are inside the command.
 * @param {import("./api.js").Api} api
 * @param {string} path
 * @param {{query?: Record<string, string | number>, accept?: string, out?: string,
 *   pictures?: Picture[]}} ask
 */
export async function command(api, path, { query = {}, accept, out, pictures = [] }) {
  const words = ["curl", "-sS"];
  if (api.hasKey) words.push("-H", '"Authorization: Bearer $BIJECT_KEY"');
  if (accept) words.push("-H", quoted(`Accept: ${accept}`));
  const files = await Promise.all(pictures.map((picture) => picture.file()));
  const size = files.reduce((sum, file) => sum + file.size, 0);
  if (pictures.length && pictures.every((picture) => !picture.isOwn) && size < SMALL) {
    const images = await Promise.all(files.map(dataUri));
    words.push("-H", quoted("Content-Type: application/json"));
    words.push("-d", quoted(JSON.stringify({ images })));
  } else {
    for (const picture of pictures) {
      const name = /\.\w+$/.test(picture.name) ? picture.name : `${picture.name}.png`;
      words.push("-F", quoted(`images=@${name}`));
    }
  }
  words.push(quoted(address(path, query).href));
  if (out) words.push("-o", quoted(out));
  return words.join(" ");
}

/**
 * A box that shows a command and copies it.
 * @param {string} label
 */
export function commandBox(label) {
  const text = el("code", {});
  const copy = button("Copy", async () => {
    await copyText(text.dataset.whole ?? "");
    copy.textContent = "Copied";
    setTimeout(() => (copy.textContent = "Copy"), 1500);
  }, { "aria-label": `Copy the command: ${label}`, class: "small" });
  const line = el("pre", { tabIndex: 0, role: "region", "aria-label": label }, text);
  const element = el("div", { class: "command", hidden: true }, line, copy);
  const set = (/** @type {string} */ whole) => {
    element.hidden = !whole;
    text.dataset.whole = whole;
    text.textContent = whole.replace(/(base64,.{12})[^"]+/g, "$1…");
  };
  return { element, set };
}

/** @param {string} text */
async function copyText(text) {
  if (navigator.clipboard) {
    await navigator.clipboard.writeText(text);
    return;
  }
  // Browsers keep the clipboard from pages that came over plain http, but for this old way.
  const area = el("textarea", { value: text, class: "unseen" });
  document.body.append(area);
  area.select();
  document.execCommand("copy");
  area.remove();
}
