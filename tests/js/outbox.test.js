import assert from "node:assert/strict";
import { test } from "node:test";
import { browser, load } from "./browser.js";

const URL = "/datasets/7/judge";

/** An outbox whose server gives these answers in turn, the last one for ever. */
async function outbox(...answers) {
  const fake = browser();
  const module = await load("outbox.js");
  const [sent, told] = [[], []];
  globalThis.fetch = async (url, { body, headers }) => {
    sent.push({ url, fields: Object.fromEntries(body), headers });
    const answer = answers.length > 1 ? answers.shift() : answers[0];
    if (answer === "offline") throw new TypeError("Failed to fetch");
    return answer;
  };
  const box = new module.Outbox("ann", {
    reply: (entry, reply) => told.push(["reply", entry.id, reply]),
    refused: (entry, sentence) => told.push(["refused", entry.id, sentence]),
    state: (state, waiting) => told.push([state, waiting]),
  });
  return { ...fake, ...module, box, sent, told };
}

const answer = (status, reply = {}) =>
  new Response(JSON.stringify(reply), { status, headers: { "Content-Type": "application/json" } });
const page = (status) => new Response("<html>", { status, headers: { "Content-Type": "text/html" } });

test("an answer is stored before it is sent, and leaves when the server has it", async () => {
  const { box, storage, sent, told } = await outbox(answer(200, { next: 8 }));

  box.add(URL, { key: "k1", answer: "left" });
  assert.equal(JSON.parse(storage.getItem("outbox:ann:k1")).fields.answer, "left");
  await box.flush();

  assert.deepEqual(sent[0].fields, { key: "k1", answer: "left" });
  assert.equal(sent[0].headers["X-CSRFToken"], "abc");
  assert.deepEqual(box.entries(), []);
  assert.deepEqual(told, [
    ["saving", 1],
    ["reply", "k1", { next: 8 }],
    ["saved", 0],
  ]);
});

test("answers go one at a time, oldest first", async () => {
  const { box, sent } = await outbox(answer(200), answer(200), answer(200));

  for (const key of ["c", "a", "b"]) box.add(URL, { key });
  await box.flush();

  assert.deepEqual(
    sent.map(({ fields }) => fields.key),
    ["c", "a", "b"],
  );
});

test("without a connection an answer waits, and the wait doubles", async () => {
  const { box, sent, told, tick } = await outbox("offline");
  box.add(URL, { key: "k1" });
  await box.flush();
  assert.deepEqual(told.at(-1), ["waiting", 1]);

  tick(1000);
  await box.sending;
  tick(1999);
  assert.equal(sent.length, 2);
  tick(1);
  await box.sending;

  assert.equal(sent.length, 3);
  assert.equal(box.entries().length, 1);
});

test("a server in trouble is asked again, and so is one that is asked too often", async () => {
  for (const status of [500, 503, 429]) {
    const { box, told } = await outbox(page(status));
    box.add(URL, { key: "k1" });
    await box.flush();
    assert.deepEqual(told.at(-1), ["waiting", 1], String(status));
  }
});

test("an expired login keeps the answer here", async () => {
  for (const status of [401, 403]) {
    const { box, told } = await outbox(page(status));
    box.add(URL, { key: "k1" });
    await box.flush();
    assert.deepEqual(told.at(-1), ["login", 1], String(status));
  }
});

test("an answer that the server refuses is dropped, and its sentence is told", async () => {
  const { box, told } = await outbox(answer(409, { error: "This pair was deleted." }));

  box.add(URL, { key: "k1" });
  await box.flush();

  assert.deepEqual(told[1], ["refused", "k1", "This pair was deleted."]);
  assert.deepEqual(box.entries(), []);
});

test("an archived dataset keeps its answers here and holds up no other dataset", async () => {
  const { box, sent, told } = await outbox(answer(423), answer(200));

  box.add("/datasets/1/judge", { key: "k1" });
  box.add("/datasets/2/judge", { key: "k2" });
  await box.flush();

  assert.equal(sent.length, 2);
  assert.deepEqual(
    box.entries().map(({ id }) => id),
    ["k1"],
  );
  assert.deepEqual(told.at(-1), ["archived", 1]);
});

test("answers of somebody else on this machine are never sent", async () => {
  const { box, storage, sent } = await outbox(answer(200));
  storage.setItem("outbox:bob:k9", JSON.stringify({ id: "k9", at: 1, url: URL, fields: {} }));

  await box.flush();

  assert.deepEqual(sent, []);
  assert.notEqual(storage.getItem("outbox:bob:k9"), null);
});

test("an answer that storage does not take is sent all the same, and the page asks before it closes", async () => {
  const { box, storage, page: window, told } = await outbox("offline", answer(200));
  storage.fill();
  box.add(URL, { key: "k1" });
  await box.flush();

  const closing = new Event("beforeunload", { cancelable: true });
  window.dispatchEvent(closing);
  assert.equal(closing.defaultPrevented, true);
  await box.flush();

  assert.deepEqual(told.at(-1), ["saved", 0]);
});

test("the outbox sends again as soon as the browser is online", async () => {
  const { box, page: window, told } = await outbox("offline", answer(200));
  box.add(URL, { key: "k1" });
  await box.flush();

  window.dispatchEvent(new Event("online"));
  await box.sending;

  assert.deepEqual(told.at(-1), ["saved", 0]);
});

test("a new key is a version 4 UUID", async () => {
  const { newKey } = await outbox(answer(200));

  const keys = Array.from({ length: 100 }, newKey);

  for (const key of keys)
    assert.match(key, /^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/);
  assert.equal(new Set(keys).size, 100);
});
