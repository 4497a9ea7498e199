import assert from "node:assert/strict";
import { test } from "node:test";
import { browser, load } from "./browser.js";

async function page(options) {
  const fake = browser(options);
  const onscreen = await load("onscreen.js");
  const paint = () => {
    fake.frame();
    fake.frame();
  };
  const focus = (on) => fake.page.dispatchEvent(new Event(on ? "focus" : "blur"));
  const hide = (on) => {
    fake.document.hidden = on;
    fake.document.dispatchEvent(new Event("visibilitychange"));
  };
  return { ...fake, ...onscreen, paint, focus, hide };
}

const key = (others = {}) => ({
  repeat: false,
  isTrusted: true,
  detail: 0,
  timeStamp: Date.now(),
  ...others,
});

test("nothing is taken before the first paint and for 300 ms after it", async () => {
  const { appeared, takes, paint, tick, LOOK } = await page();

  appeared();
  assert.equal(takes(key()), false);
  paint();
  tick(LOOK - 1);
  assert.equal(takes(key()), false);
  tick(1);

  assert.equal(takes(key()), true);
});

test("a key that is held down is never taken", async () => {
  const { appeared, takes, paint, tick } = await page();
  appeared();
  paint();
  tick(1000);

  assert.equal(takes(key({ repeat: true })), false);
});

test("an event counts from when it happened, not from when a busy page saw it", async () => {
  const { appeared, takes, paint, tick } = await page();
  appeared();
  paint();
  const pressed = Date.now() + 100;
  tick(5000);

  assert.equal(takes(key({ timeStamp: pressed })), false);
});

test("the next pair begins a look of its own", async () => {
  const { appeared, takes, paint, tick } = await page();
  appeared();
  paint();
  tick(1000);

  appeared();
  assert.equal(takes(key()), false);
  paint();
  tick(299);
  assert.equal(takes(key()), false);
});

test("a click counts from when the button went down", async () => {
  const { appeared, takes, paint, tick, page: window } = await page();
  appeared();
  paint();
  const down = new Event("pointerdown");
  Object.defineProperty(down, "timeStamp", { value: Date.now() });
  window.dispatchEvent(down);
  tick(1000);

  assert.equal(takes(key({ detail: 1 })), false);
});

test("time counts only while the page is visible and has the focus", async () => {
  const { appeared, takeSeconds, paint, tick, focus, hide } = await page();
  appeared();
  paint();

  tick(2000);
  focus(false);
  tick(5000);
  focus(true);
  tick(1000);
  assert.equal(takeSeconds(), 3);
  hide(true);
  tick(60_000);

  assert.equal(takeSeconds(), 0);
});

test("a page that opens without the focus counts nothing", async () => {
  const { appeared, takeSeconds, paint, tick } = await page({ focused: false });
  appeared();
  paint();
  tick(4000);

  assert.equal(takeSeconds(), 0);
});

test("a second is given once: after a vote, time counts for its change", async () => {
  const { appeared, takeSeconds, paint, tick } = await page();
  appeared();
  paint();
  tick(2000);
  const vote = takeSeconds();
  tick(500);

  assert.deepEqual([vote, takeSeconds()], [2, 0.5]);
});

test("restartTime begins again at 0", async () => {
  const { appeared, restartTime, takeSeconds, paint, tick } = await page();
  appeared();
  paint();
  tick(2000);

  restartTime();
  appeared();
  paint();
  tick(500);

  assert.equal(takeSeconds(), 0.5);
});
