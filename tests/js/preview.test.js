import assert from "node:assert/strict";
import { test } from "node:test";
import { browser, load } from "./browser.js";

/** Whether a change in this element reaches whoever listens on the document. */
async function reaches(isNamedColumn) {
  const { document } = browser();
  await load("preview.js");
  const change = new Event("change", { bubbles: true });
  Object.defineProperty(change, "target", { value: { closest: () => (isNamedColumn ? {} : null) } });
  let stopped = false;
  change.stopPropagation = () => (stopped = true);
  document.dispatchEvent(change);
  return !stopped;
}

test("the preview is not made again while columns are being named", async () => {
  assert.equal(await reaches(true), false);
});

test("any other change makes the preview again", async () => {
  assert.equal(await reaches(false), true);
});
