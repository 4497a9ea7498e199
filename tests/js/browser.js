// As much of a browser as the modules need: storage, a document with listeners, a clock, frames, and fetch.
// `load` imports a module anew into a fresh browser, so that no test sees what another left behind.

import { globSync } from "node:fs";
import { mock } from "node:test";
import { pathToFileURL } from "node:url";

const STATIC = "workbench/static/**/";
let loads = 0;

/** A localStorage: Object.keys lists what is stored, and after `fill` it takes no more. */
function storage() {
  const texts = new Map();
  let isFull = false;
  const methods = {
    getItem: (name) => texts.get(name) ?? null,
    setItem: (name, text) => {
      if (isFull) throw new Error("QuotaExceededError");
      texts.set(name, String(text));
    },
    removeItem: (name) => texts.delete(name),
    fill: () => {
      isFull = true;
    },
  };
  return new Proxy(methods, {
    ownKeys: () => [...texts.keys()],
    getOwnPropertyDescriptor: (_, name) =>
      texts.has(name) ? { enumerable: true, configurable: true } : undefined,
  });
}

/** Set up a fresh browser. Frames come when `frame()` is called, and time passes with mock.timers.tick. */
export function browser({ stored = {}, focused = true } = {}) {
  mock.timers.reset();
  mock.timers.enable({ apis: ["setTimeout", "Date"] });
  const page = new EventTarget();
  const kept = storage();
  for (const [name, text] of Object.entries(stored)) kept.setItem(name, text);
  const frames = [];
  const documentOf = Object.assign(new EventTarget(), {
    hidden: false,
    cookie: "csrftoken=abc",
    hasFocus: () => focused,
  });
  const globals = {
    document: documentOf,
    localStorage: kept,
    addEventListener: page.addEventListener.bind(page),
    requestAnimationFrame: (callback) => frames.push(callback),
    performance: { now: () => Date.now() },
  };
  for (const [name, value] of Object.entries(globals)) {
    Object.defineProperty(globalThis, name, { value, configurable: true, writable: true });
  }
  return {
    page,
    document: documentOf,
    storage: kept,
    tick: (milliseconds) => mock.timers.tick(milliseconds),
    frame: () => frames.splice(0).forEach((callback) => callback()),
  };
}

/** The module of this name, wherever it stands among the static files. */
export async function load(name) {
  const [file, ...others] = globSync(STATIC + name);
  if (!file || others.length) throw new Error(`Expected one file ${name}, found ${[file, ...others]}`);
  loads += 1;
  return import(`${pathToFileURL(file)}?load=${loads}`);
}

/** A key press, with the parts of a KeyboardEvent that the modules read. */
export function press(key, { code = "", shift = false, ...others } = {}) {
  return {
    key,
    code,
    shiftKey: shift,
    ctrlKey: false,
    metaKey: false,
    altKey: false,
    repeat: false,
    isComposing: false,
    getModifierState: () => false,
    ...others,
  };
}
