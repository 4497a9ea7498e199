import assert from "node:assert/strict";
import { test } from "node:test";
import { load } from "./browser.js";

const ranking = await load("ranking.js");

/** The groups after these keys; "=2" is level with the last. */
const typed = (...keys) =>
  keys.reduce((groups, key) => ranking.place(groups, key.at(-1), key.startsWith("=")), []);

test("each key puts an answer below the others", () => {
  assert.deepEqual(typed("2", "1", "3"), [["2"], ["1"], ["3"]]);
});

test("an answer can be as good as the last", () => {
  assert.deepEqual(typed("2", "=1", "3"), [["2", "1"], ["3"]]);
  assert.deepEqual(typed("=2"), [["2"]]);
});

test("the key of an answer that has a place takes the answer out", () => {
  assert.deepEqual(typed("2", "1", "2"), [["1"]]);
  assert.deepEqual(typed("2", "=1", "1"), [["2"]]);
});

test("takeBack takes the last one out, and nothing from an empty ranking", () => {
  assert.deepEqual(ranking.takeBack([["2"], ["1", "3"]]), [["2"], ["1"]]);
  assert.deepEqual(ranking.takeBack([]), []);
});

test("the one that is left comes last by itself", () => {
  assert.deepEqual(ranking.completed([["2"], ["1"]], 3), [["2"], ["1"], ["3"]]);
  assert.deepEqual(ranking.completed([["2"]], 3), [["2"]]);
  assert.equal(ranking.isComplete([["2"], ["1"]], 3), true);
  assert.equal(ranking.isComplete([["2"]], 3), false);
});

test("ranks count the answers above, in the order shown", () => {
  assert.equal(ranking.answerFrom([["2"], ["1", "3"]], 3), "ranks:2,1,2");
  assert.equal(ranking.answerFrom([["1", "2"], ["3"]], 3), "ranks:1,1,3");
});

test("an answer and its groups say the same", () => {
  for (const groups of [[["2"], ["1", "3"]], [["3"], ["2"], ["1"]], [["1", "2", "3"]]]) {
    assert.deepEqual(ranking.groupsFrom(ranking.answerFrom(groups, 3)), groups);
  }
});

test("a ranking in words", () => {
  assert.equal(ranking.inWords("ranks:2,1,2"), "2 > 1 = 3");
});

test("stored groups of other answers are no groups", () => {
  assert.deepEqual(ranking.groupsIn('[["2"],["1"]]', 3), [["2"], ["1"]]);
  for (const odd of [null, "null", "{}", '["2"]', "[[]]", '[["2"],["2"]]', '[["4"]]']) {
    assert.equal(ranking.groupsIn(odd, 3), null, String(odd));
  }
});
