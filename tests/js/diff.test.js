import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { load } from "./browser.js";

const { diff, LONGEST, similarity } = await load("diff.js");

const without = (pieces, kind) =>
  pieces
    .filter((piece) => piece.kind !== kind)
    .map((piece) => piece.text)
    .join("");

test("leaving one side out gives the other text, character for character", () => {
  const texts = [
    "",
    "a",
    "The cat sat.\n",
    "The dog  sat\ton it.\n",
    "  spaces  ",
    "naïve 漢字 👍🏽 e\u0301",
    "a\r\nb\n\nc",
  ];
  for (const left of texts) {
    for (const right of texts) {
      const pieces = diff(left, right);
      assert.equal(without(pieces, "right"), left);
      assert.equal(without(pieces, "left"), right);
    }
  }
});

test("equal texts are one shared piece", () => {
  assert.deepEqual(diff("The same words.", "The same words."), [{ kind: "same", text: "The same words." }]);
});

test("only the changed word is marked", () => {
  assert.deepEqual(diff("I like tea.", "I like coffee."), [
    { kind: "same", text: "I like " },
    { kind: "left", text: "tea" },
    { kind: "right", text: "coffee" },
    { kind: "same", text: "." },
  ]);
});

test("neighbouring changed words are one mark, with the space between them", () => {
  const pieces = diff("one red apple here", "one green pear here");

  assert.deepEqual(
    pieces.filter(({ kind }) => kind !== "same").map(({ text }) => text),
    ["red apple", "green pear"],
  );
});

test("texts that differ for too long are not compared", () => {
  const [left, right] = ["a ", "b "].map((word) => word.repeat(LONGEST));

  assert.equal(diff(left, right), null);
});

test("a long text that differs in one word is compared", () => {
  const shared = "word ".repeat(200_000);

  const pieces = diff(`${shared}tea ${shared}`, `${shared}coffee ${shared}`);

  assert.deepEqual(
    pieces.filter(({ kind }) => kind !== "same").map(({ text }) => text),
    ["tea", "coffee"],
  );
});

test("similarity is 1 for equal texts, 0 for different ones, and defined for empty ones", () => {
  assert.equal(similarity(diff("one two", "one two")), 1);
  assert.equal(similarity(diff("one", "two")), 0);
  assert.equal(similarity(diff("", "")), 0);
});

test("texts with no word in common come back within the time limit", () => {
  const [left, right] = ["l", "r"].map((letter) =>
    Array.from({ length: 12_000 }, (_, i) => letter + i).join(" "),
  );
  const began = process.hrtime.bigint();

  const pieces = diff(left, right);

  assert.ok(process.hrtime.bigint() - began < 3_000_000_000n);
  assert.equal(without(pieces, "right"), left);
  assert.equal(without(pieces, "left"), right);
});

test("the vendored file is dist/diff.js of jsdiff 9.0.0 between two lines", () => {
  const file = readFileSync("workbench/static/workbench/vendor/jsdiff.js", "utf8");
  const published = file.slice(file.indexOf("\n") + 1, file.lastIndexOf("\n", file.length - 2) + 1);

  assert.equal(
    createHash("sha256").update(published).digest("hex"),
    "5773c7efb34715bb9a9b6a9ebf5b0ff00f85f9efa6d9fd69fc65e181364f7b2e",
  );
});
