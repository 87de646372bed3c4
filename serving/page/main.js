/** The frame around the views: which model, which view, how the server is, key and colours. */

import { Api, ApiError } from "./api.js";
import { button, el } from "./dom.js";
import { explore } from "./explore.js";
import { inspect } from "./inspect.js";
import { latent } from "./latent.js";
import { Model } from "./model.js";
import { morph } from "./morph.js";
import { lacking, ofVectors } from "./notices.js";
import { tileSides } from "./picture.js";
import { status } from "./status.js";
import { theme } from "./theme.js";

/**
 * @typedef {object} View
 * @property {HTMLElement} element
 * @property {(pictures?: import("./picture.js").Picture[]) => void} [activate]
 * @property {() => void} [deactivate]
 */
/**
 * @typedef {object} Context what a view may use of the rest
 * @property {Model} model
 * @property {Api} api
 * @property {URLSearchParams} link what the address of the page asks for
 * @property {(values: Record<string, string>) => void} share put these into the address
 * @property {(work: () => Promise<void>) => Promise<void>} guard run it, and say why it failed
 * @property {(view: string, pictures: import("./picture.js").Picture[]) => void} show
 * @property {(view: string) => boolean} isShown
 * @property {(text: string) => void} announce to who listens to a screen reader
 */

/** @type {Record<string, {make: (context: Context) => View, graphs: string[][], about: string}>} */
const VIEWS = {
  explore: {
    make: explore,
    graphs: [["decode"]],
    about: "Every picture here is made from numbers drawn at random. Choose one.",
  },
  inspect: {
    make: inspect,
    graphs: [["reconstruct", "score"]],
    about: "What the model makes of your pictures, and how far from normal it finds them.",
  },
  morph: {
    make: morph,
    graphs: [["encode"], ["decode"]],
    about: "From picture to picture along a path through the model's numbers.",
  },
  latent: {
    make: latent,
    graphs: [["decode"]],
    about: "Move single numbers, or all of them in a direction of your own, and watch.",
  },
};
const STATUS = "status";
const ABOUT_STATUS = "What is served, and how busy it is.";
const WORDS = {
  ready: "ready",
  loading: "loading",
  busy: "busy",
  locked: "needs a key",
  gone: "not reachable",
};
const NOTES = {
  ready: "",
  loading: "The server is not ready yet. This page goes on by itself once it is.",
  busy: "The server has too much to do. It is asked again in a moment.",
  locked: "The server wants an API key.",
  gone: "The server does not answer. This page goes on by itself once it does.",
};

/** @param {string} id @returns {any} */
const byId = (id) => document.getElementById(id);
const api = new Api();
/** @type {Map<string, View>} made for the model that is chosen */
let made = new Map();
/** @type {{name: string, view: View} | null} */
let current = null;
/** @type {Model | null} */
let model = null;

function link() {
  const [view, query] = location.hash.slice(1).split("?");
  const isKnown = Object.hasOwn(VIEWS, view) || view === STATUS;
  return { view: isKnown ? view : (current?.name ?? "explore"), query: new URLSearchParams(query ?? "") };
}

/** @param {Record<string, string>} values */
function share(values) {
  const { view, query } = link();
  if (model) query.set("model", model.ref);
  for (const [name, value] of Object.entries(values)) query.set(name, value);
  history.replaceState(null, "", `#${view}?${query}`);
}

/** @param {() => Promise<void>} work */
async function guard(work) {
  try {
    await work();
    byId("error").hidden = true;
  } catch (error) {
    if (!(error instanceof ApiError)) console.error(error);
    byId("error-text").textContent = /** @type {Error} */ (error).message;
    byId("error").hidden = false;
  }
}

/** @param {string} text */
function announce(text) {
  byId("announcer").textContent = text;
}

/**
 * @param {Model} model
 * @returns {Context}
 */
function contextFor(model) {
  return {
    model,
    api,
    link: link().query,
    share: (values) => current?.name === "explore" && share(values),
    guard,
    show: (name, pictures) => {
      location.hash = `#${name}`;
      open(name, pictures);
    },
    isShown: (name) => current?.name === name,
    announce,
  };
}

/**
 * @param {string} name
 * @returns {View}
 */
function viewOf(name) {
  if (name === STATUS) return status({ api, guard });
  if (!model) return { element: el("p", { class: "note" }, "Waiting for the server …") };
  const { make, graphs } = VIEWS[name];
  if (!model.isOfImages) return ofVectors(model);
  const missing = graphs.filter((any) => !any.some((graph) => model?.has(graph)));
  if (missing.length) return lacking(model, missing.map((any) => any.join(" or ")).join(" and "));
  return make(contextFor(model));
}

/**
 * Show this view, and hand it the pictures.
 * @param {string} name
 * @param {import("./picture.js").Picture[]} [pictures]
 */
function open(name, pictures) {
  let view = made.get(name);
  if (!view) {
    view = viewOf(name);
    if (model || name === STATUS) made.set(name, view);
  }
  if (current && current.view !== view) {
    current.view.deactivate?.();
    byId("error").hidden = true;
  }
  const isNew = current?.view !== view;
  current = { name, view };
  byId("about").textContent = name === STATUS ? ABOUT_STATUS : VIEWS[name].about;
  for (const tab of document.querySelectorAll("nav a")) {
    if (tab.getAttribute("href") === `#${name}`) tab.setAttribute("aria-current", "page");
    else tab.removeAttribute("aria-current");
  }
  if (byId("view").firstChild !== view.element) byId("view").replaceChildren(view.element);
  if (isNew || pictures) view.activate?.(pictures);
}

/** Bring the picker up to date; the first time, open the model that the address names. */
async function loadModels() {
  const { data } = await api.json("v1/models");
  const picker = byId("model");
  const wanted = model?.ref ?? link().query.get("model");
  picker.replaceChildren(...data.flatMap(options));
  const refs = [...picker.options].filter(({ disabled }) => !disabled).map(({ value }) => value);
  if (!refs.length) return;
  const ref = refs.includes(wanted) ? wanted : (await api.json("v1/models/default")).name;
  picker.value = ref;
  if (ref !== model?.ref) await choose(ref);
}

/** @param {any} listed one name of /v1/models */
function options(listed) {
  const { name, state, version, versions = [] } = listed;
  const isUsable = state === "ready" || state === "unloaded"; // one that rests is loaded when asked
  const older = versions.filter((/** @type {any} */ one) => one.version !== version && one.state === "ready");
  return [
    el("option", { value: name, disabled: !isUsable }, state === "ready" ? name : `${name} (${state})`),
    ...older.map((/** @type {any} */ one) => el("option", { value: `${name}@${one.version}` }, `${name}, version ${one.version}`)),
  ];
}

/** @param {string} ref */
async function choose(ref) {
  const info = await api.json(`v1/models/${ref}`);
  if (!info.graphs) return; // it has just been unloaded
  current?.view.deactivate?.();
  model = new Model(api, ref, info);
  made = new Map([...made].filter(([name]) => name === STATUS));
  current = null;
  byId("facts").textContent = facts(info);
  if (info.image) {
    const { large, small } = tileSides(info.image);
    document.documentElement.style.setProperty("--tile", `${large}px`);
    document.documentElement.style.setProperty("--tile-small", `${small}px`);
  }
  open(link().view);
}

/** @param {any} info */
function facts(info) {
  const taken = info.image
    ? `${info.image.width} × ${info.image.height} ${info.image.channels === 1 ? "grey" : "colour"}`
    : `${info.vector.size} numbers`;
  const kind = info.pairing ? `${info.pairing.toUpperCase().replace("BIGAN", "BiGAN")}, ` : "";
  return `${kind}${taken} ↔ ${info.latent.size} latent numbers${info.device ? `, on ${info.device}` : ""}`;
}

function showState() {
  const { state, detail } = api;
  byId("state").className = `state ${state}`;
  byId("state-text").textContent = WORDS[state];
  byId("banner").hidden = state === "ready";
  byId("banner").className = `banner ${state}`;
  byId("banner-text").textContent = NOTES[state] + (detail ? ` (${detail})` : "");
  byId("banner-key").hidden = state !== "locked";
}

/** Where the server comes back, it may have other models. */
let wasAway = true;
function onState() {
  showState();
  if (api.state === "loading" || api.state === "gone" || api.state === "locked") wasAway = true;
  if (api.state === "ready" && wasAway) {
    wasAway = false;
    void guard(loadModels);
  }
}

function enterKey() {
  byId("key-dialog").showModal();
}

theme(byId("theme"));
byId("key").addEventListener("click", enterKey);
byId("banner-key").append(button("Enter a key", enterKey, { class: "small" }));
byId("key-form").addEventListener("submit", () => {
  api.setKey(byId("key-input").value.trim());
  byId("key-input").value = "";
});
byId("key-cancel").addEventListener("click", () => byId("key-dialog").close());
byId("model").addEventListener("change", () => {
  const ref = byId("model").value;
  history.replaceState(null, "", `#${link().view}?model=${ref}`);
  void guard(() => choose(ref));
});
byId("error-close").append(button("Dismiss", () => (byId("error").hidden = true), { class: "small" }));
addEventListener("dragover", (event) => event.preventDefault());
addEventListener("drop", (event) => event.preventDefault()); // never leave for a dropped file
addEventListener("hashchange", () => {
  const wanted = link().query.get("model");
  if (wanted && model && wanted !== model.ref && [...byId("model").options].some(({ value }) => value === wanted)) {
    byId("model").value = wanted;
    void guard(() => choose(wanted));
  } else {
    open(link().view);
  }
});
byId("skip").addEventListener("click", (/** @type {Event} */ event) => {
  event.preventDefault();
  byId("view").focus();
});
api.addEventListener("waiting", () => {
  byId("progress").classList.toggle("on", api.waiting > 0);
});
api.addEventListener("state", onState);
showState();
open(link().view);
api.watch();
