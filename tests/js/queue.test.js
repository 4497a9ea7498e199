import assert from "node:assert/strict";
import { test } from "node:test";
import { load } from "./browser.js";

const { Queue } = await load("annotate/queue.js");
const { itemOf, draftName } = await load("annotate/items.js");

/** A queue of items with these names: the current one, those to come, those answered and those undone. */
function queueOf(current, upcoming = [], answered = [], undone = []) {
  const item = (comparison) => comparison && { comparison };
  return Object.assign(new Queue(), {
    current: item(current),
    upcoming: upcoming.map(item),
    answered: answered.map(item),
    undone: undone.map(item),
  });
}

const names = (items) => items.map((item) => item.comparison).join("");

test("what is on screen and to come is handed out", () => {
  assert.deepEqual(queueOf("c", ["d", "e"], ["b"]).handedOut(), ["c", "d", "e"]);
  assert.deepEqual(queueOf(null, ["d"]).handedOut(), ["d"]);
});

test("a finished item is the newest, after those that undo has gone past", () => {
  const queue = queueOf("b", ["e"], ["a"], ["c", "d"]);

  queue.finishCurrent();

  assert.equal(names(queue.answered), "abcd");
  assert.deepEqual(queue.undone, []);
});

test("undo puts a voted item before those it has gone past, and an open one back into the queue", () => {
  const queue = queueOf("c", ["e"], ["a"], ["d"]);

  queue.putBackCurrent(true);
  assert.equal(names(queue.undone), "cd");
  queue.putBackCurrent(false);
  assert.equal(names(queue.upcoming), "ce");
});

test("an item from before this page comes before all that were answered here", () => {
  const queue = queueOf("d", [], ["a", "b"], ["c"]);

  queue.goPastAll();

  assert.equal(names(queue.undone), "abc");
  assert.deepEqual(queue.answered, []);
});

test("an item is found by the key of its last answer, wherever it is", () => {
  const queue = queueOf("a", ["d"], ["b"], ["c"]);
  queue.undone[0].supersedes = "k1";

  assert.equal(queue.answeredUnder("k1").comparison, "c");
  assert.equal(queue.answeredUnder("k2"), undefined);
});

test("the newest item is in one place only", () => {
  const queue = queueOf("d", [], ["a", "b"], ["c"]);

  queue.makeNewest(queue.undone[0]);
  queue.makeNewest(queue.answered[0]);

  assert.equal(names(queue.answered), "bca");
  assert.deepEqual(queue.undone, []);
});

test("the oldest Judgment counts those that have arrived", () => {
  const queue = queueOf("c", [], ["a", "b"]);
  assert.equal(queue.oldestJudgment(), null);

  Object.assign(queue.answered[0], { judgment: "12" });
  Object.assign(queue.answered[1], { judgment: "9" });

  assert.equal(queue.oldestJudgment(), 9);
});

test("an item has what its element says", () => {
  const pair = itemOf({ dataset: { comparison: "7", claim: "8", key: "k", hasReveal: "" } });
  const ranking = itemOf({ dataset: { comparison: "7", claim: "9", key: "k", ranks: "4" } });

  assert.deepEqual([pair.ranks, pair.hasReveal], [0, true]);
  assert.deepEqual([ranking.ranks, ranking.hasReveal], [4, false]);
  assert.equal(draftName("3", pair), "draft:3:8");
});
