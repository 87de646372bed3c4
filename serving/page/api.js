/**
 * The server, as its public API shows it.  A request waits while the server loads, is busy, wants
 * a key or is gone, and is made again once that has passed: nobody has to reload the page.
 */

import * as npy from "./npy.js";

/** @typedef {"ready" | "loading" | "busy" | "locked" | "gone"} State */
/**
 * @typedef {object} Ask
 * @property {BodyInit} [body] makes it a POST
 * @property {string} [type] of the body; none for a form, which brings its own
 * @property {string} [accept]
 * @property {Record<string, string | number>} [query]
 */

export const NPY = "application/x-npy";
const BASE = new URL("../", import.meta.url); // wherever a proxy has put the server
const KEY = "biject-key";
const WATCH_MS = 1_000;
const HEARTBEAT_MS = 10_000;
const MOST_REFUSALS = 20; // of one request, before its sender hears of it
const MOST_UNREADY = 5; // of those, while the server as a whole says that it is ready
const LONGEST_PAUSE_S = 10;

/** A request that the server refuses for good. */
export class ApiError extends Error {
  /**
   * @param {number} status
   * @param {any} problem RFC 9457
   */
  constructor(status, problem) {
    super(problem.detail || problem.title || `status ${status}`);
    this.status = status;
    /** @type {{index: number, detail: string}[]} */
    this.items = problem.errors ?? [];
  }
}

/**
 * @param {string} path
 * @param {Record<string, string | number>} [query]
 */
export function address(path, query = {}) {
  const url = new URL(path, BASE);
  for (const [name, value] of Object.entries(query)) url.searchParams.set(name, String(value));
  return url;
}

/** Fires `state` whenever `state` or `detail` changes, `waiting` whenever `waiting` does. */
export class Api extends EventTarget {
  /** @type {State} */
  state = "loading";
  detail = "";
  waiting = 0; // requests that are not answered yet
  #key = sessionStorage.getItem(KEY) ?? "";
  #watching = false;

  constructor() {
    super();
    setInterval(() => {
      if (document.visibilityState === "visible" && this.state === "ready") void this.#look();
    }, HEARTBEAT_MS);
  }

  get hasKey() {
    return this.#key !== "";
  }

  /**
   * Use this key from now on; it stays in this tab.
   * @param {string} key
   */
  setKey(key) {
    this.#key = key;
    if (key) sessionStorage.setItem(KEY, key);
    else sessionStorage.removeItem(KEY);
    this.#become("loading", "trying the key");
  }

  /**
   * The answer's JSON.
   * @param {string} path
   * @param {Ask} [ask]
   * @returns {Promise<any>}
   */
  async json(path, ask = {}) {
    return (await this.#answer(path, { accept: "application/json", ...ask })).json();
  }

  /**
   * The array that the answer is.
   * @param {string} path
   * @param {Ask} [ask]
   */
  async array(path, ask = {}) {
    return npy.read(await (await this.#answer(path, { accept: NPY, ...ask })).arrayBuffer());
  }

  /**
   * @param {string} path
   * @param {Ask} ask
   */
  async blob(path, ask) {
    return (await this.#answer(path, ask)).blob();
  }

  /**
   * @param {string} path
   * @param {Ask} [ask]
   */
  async text(path, ask = {}) {
    return (await this.#answer(path, ask)).text();
  }

  /** @param {number} more */
  #wait(more) {
    this.waiting += more;
    this.dispatchEvent(new Event("waiting"));
  }

  /**
   * @param {string} path
   * @param {Ask} ask
   * @returns {Promise<Response>}
   */
  async #answer(path, ask) {
    this.#wait(1);
    try {
      return await this.#insist(path, ask);
    } finally {
      this.#wait(-1);
    }
  }

  /**
   * @param {string} path
   * @param {Ask} ask
   * @returns {Promise<Response>}
   */
  async #insist(path, ask) {
    for (let refusals = 0; ; refusals += 1) {
      await this.#usable();
      const response = await this.#fetch(path, ask);
      if (response === null) continue;
      if (response.ok) {
        if (this.state !== "ready") this.#become("ready", "");
        return response;
      }
      const error = new ApiError(response.status, await problem(response));
      if (![401, 403, 429, 503].includes(error.status)) throw error;
      if (refusals >= (error.status === 503 ? MOST_UNREADY : MOST_REFUSALS)) {
        this.#become("ready", ""); // for others, it may be
        throw error;
      }
      if (error.status === 429) {
        this.#become("busy", error.message);
        const asked = Number(response.headers.get("retry-after")) || 1;
        await pause(Math.min(asked, LONGEST_PAUSE_S) * 1000);
      } else {
        this.#become(error.status === 503 ? "loading" : "locked", error.message);
      }
    }
  }

  /**
   * Null where nobody answers.
   * @param {string} path
   * @param {Ask} ask
   */
  async #fetch(path, ask) {
    /** @type {Record<string, string>} */
    const headers = { Accept: ask.accept ?? "*/*" };
    if (ask.type) headers["Content-Type"] = ask.type;
    if (this.#key) headers.Authorization = `Bearer ${this.#key}`;
    try {
      return await fetch(address(path, ask.query), {
        method: ask.body === undefined ? "GET" : "POST",
        body: ask.body,
        headers,
      });
    } catch {
      this.#become("gone", "nobody answers");
      return null;
    }
  }

  /**
   * Resolves once requests make sense.
   * @returns {Promise<void>}
   */
  #usable() {
    return new Promise((resolve) => {
      const look = () => {
        if (this.state !== "ready" && this.state !== "busy") return;
        this.removeEventListener("state", look);
        resolve();
      };
      this.addEventListener("state", look);
      look();
    });
  }

  /** Begin to look after the server. */
  watch() {
    if (this.#watching) return;
    this.#watching = true;
    const turn = async () => {
      await this.#look();
      this.#watching = this.state === "loading" || this.state === "gone";
      if (this.#watching) setTimeout(turn, WATCH_MS);
    };
    void turn();
  }

  async #look() {
    const ready = await this.#fetch("readyz", {});
    if (ready === null) return;
    if (!ready.ok) {
      this.#become("loading", (await problem(ready)).detail ?? "");
      return;
    }
    const models = await this.#fetch("v1/models", {});
    if (models === null) return;
    if (models.status === 401 || models.status === 403) {
      this.#become("locked", (await problem(models)).detail ?? "");
    } else if (models.ok) {
      this.#become("ready", "");
    } else {
      this.#become("loading", (await problem(models)).detail ?? "");
    }
  }

  /**
   * @param {State} state
   * @param {string} detail
   */
  #become(state, detail) {
    const news = state !== this.state || detail !== this.detail;
    this.state = state;
    this.detail = detail;
    if (news) this.dispatchEvent(new Event("state"));
    if (state === "loading" || state === "gone") this.watch();
  }
}

/**
 * What an answer complains of.
 * @param {Response} response
 * @returns {Promise<any>}
 */
async function problem(response) {
  const text = await response.text().catch(() => "");
  try {
    return JSON.parse(text);
  } catch {
    return { detail: text.slice(0, 300) }; // a proxy's own page, say
  }
}

/**
 * @param {number} ms
 * @returns {Promise<void>}
 */
function pause(ms) {
  return new Promise((resolve) => {
    setTimeout(resolve, ms);
  });
}
