import assert from "node:assert/strict";
import { test } from "node:test";
import { browser, load, press } from "./browser.js";

async function keys(chosen) {
  browser({ stored: chosen ? { "annotate-keys": chosen } : {} });
  return load("keys.js");
}

test("digits give the five answers unless another set is chosen", async () => {
  const { answerOf } = await keys();

  const answers = [..."12345"].map((digit) => answerOf(press(digit, { code: `Digit${digit}` })));

  assert.deepEqual(answers, ["left", "right", "tie", "both_bad", "cannot_judge"]);
});

test("a set that is not known falls back to digits", async () => {
  const { answerOf } = await keys("no such set");

  assert.equal(answerOf(press("1", { code: "Digit1" })), "left");
});

test("the right hand's letters work in either case, and digits no longer", async () => {
  const { answerOf } = await keys("right-hand");

  assert.equal(answerOf(press("j", { code: "KeyJ" })), "left");
  assert.equal(answerOf(press("J", { code: "KeyJ" })), "left");
  assert.equal(answerOf(press("1", { code: "Digit1" })), undefined);
});

test("without characters only the arrows answer", async () => {
  const { answerOf, charactersAct } = await keys("none");

  assert.equal(charactersAct(), false);
  assert.equal(answerOf(press("1", { code: "Digit1" })), undefined);
  assert.equal(answerOf(press("ArrowLeft", { code: "ArrowLeft" })), "left");
});

test("Shift with a side says much better", async () => {
  const { answerOf } = await keys();

  assert.equal(answerOf(press("!", { code: "Digit1", shift: true })), "left:2");
  assert.equal(answerOf(press("ArrowRight", { code: "ArrowRight", shift: true })), "right:2");
});

test("Shift with 3 answers only where the keyboard prints a 3", async () => {
  const { answerOf } = await keys();

  assert.equal(answerOf(press("#", { code: "Digit3", shift: true })), undefined);
  assert.equal(answerOf(press("3", { code: "Digit3", shift: true })), "tie");
});

test("a digit is known by its place on a French keyboard and in other scripts", async () => {
  const { answerOf } = await keys();

  assert.equal(answerOf(press("&", { code: "Digit1" })), "left");
  assert.equal(answerOf(press("٢", { code: "Digit2" })), "right");
});

test("a letter of another script is known by its place", async () => {
  const { keyOf } = await keys();

  assert.equal(keyOf(press("г", { code: "KeyU" })), "u");
  assert.equal(keyOf(press(",", { code: "KeyW" })), ""); // Dvorak prints a comma there
});

test("keys that are held, composed or part of a shortcut mean nothing", async () => {
  const { keyOf } = await keys();

  for (const odd of [
    { repeat: true },
    { isComposing: true },
    { ctrlKey: true },
    { metaKey: true },
    { altKey: true },
  ]) {
    assert.equal(keyOf(press("1", { code: "Digit1", ...odd })), "", JSON.stringify(odd));
  }
  assert.equal(keyOf(press("1", { code: "Digit1", getModifierState: () => true })), "");
});

test("the number block gives digits, and nothing while it moves the cursor", async () => {
  const { keyOf } = await keys();

  assert.equal(keyOf(press("1", { code: "Numpad1" })), "1");
  assert.equal(keyOf(press("End", { code: "Numpad1" })), "");
});

test("the choice of a set is remembered", async () => {
  const { storage, document } = browser();
  document.body = { classList: { toggle: () => {} } };
  document.querySelectorAll = () => [];
  const { labelKeys, answerOf } = await load("keys.js");
  const select = Object.assign(new EventTarget(), { value: "" });

  labelKeys(select);
  assert.equal(select.value, "digits");
  select.value = "left-hand";
  select.dispatchEvent(new Event("change"));

  assert.equal(storage.getItem("annotate-keys"), "left-hand");
  assert.equal(answerOf(press("q", { code: "KeyQ" })), "left");
});

test("a key held down does not press the focused button again", async () => {
  const { document } = browser();
  await load("keys.js");
  const held = (key, selector) => {
    const event = new Event("keydown", { cancelable: true });
    Object.assign(event, { key, repeat: true });
    Object.defineProperty(event, "target", { value: { matches: (list) => list.includes(selector) } });
    document.dispatchEvent(event);
    return event.defaultPrevented;
  };

  assert.equal(held("Enter", "button"), true);
  assert.equal(held("Enter", "textarea"), false);
  assert.equal(held(" ", "button"), true);
  assert.equal(held(" ", "textarea"), false);
});
