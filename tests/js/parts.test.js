import assert from "node:assert/strict";
import { test } from "node:test";
import { load } from "./browser.js";

const { blocksOf, diffParts, rawParts, wordStart } = await load("annotate/parts.js");

const textOf = (parts) => parts.map(({ text, folded }) => folded ?? text).join("");
const kinds = (parts) => parts.filter(({ text, folded }) => text || folded).map(({ kind }) => kind);

test("a side of a diff has its own words marked and none of the other side", () => {
  const pieces = [
    { kind: "same", text: "a " },
    { kind: "left", text: "cat" },
    { kind: "right", text: "dog" },
    { kind: "same", text: " sat" },
  ];

  assert.deepEqual(diffParts(pieces, "left", "del"), [
    { kind: "text", text: "a " },
    { kind: "del", text: "cat" },
    { kind: "text", text: " sat" },
  ]);
  assert.equal(textOf(diffParts(pieces, "right", "ins")), "a dog sat");
});

test("a long shared stretch is folded at words, and towards its open end", () => {
  const long = "many words ".repeat(100);
  const change = { kind: "left", text: "change" };
  const same = { kind: "same", text: long };

  const middle = diffParts([change, same, change], "left", "del");
  assert.deepEqual(kinds(middle), ["del", "text", "fold", "text", "del"]);
  assert.equal(textOf(middle), `change${long}change`);
  assert.match(middle[1].text, /^(many words )+(many )?$/);

  assert.deepEqual(kinds(diffParts([same, change], "left", "del")), ["fold", "text", "del"]);
  assert.deepEqual(kinds(diffParts([change, same], "left", "del")), ["del", "text", "fold"]);
});

test("a cut parts no character", () => {
  const emoji = "😀".repeat(100);

  assert.equal(wordStart(emoji, 81), 80);
  assert.equal(wordStart("one two three", 9), 8);
});

test("raw names what cannot be seen", () => {
  assert.equal(textOf(rawParts("a\tb\u200bc  \nd")), "a⇥\tbU+200Bc··\nd");
  assert.deepEqual(kinds(rawParts("a\u00a0b")), ["text", "unseen", "text"]);
  assert.equal(textOf(rawParts("two words\nnext")), "two words\nnext");
});

test("short parts need no blocks", () => {
  assert.equal(blocksOf([{ kind: "text", text: "short" }]), null);
});

test("long parts come in blocks of whole lines that are the text again", () => {
  const text = "A line of text.\n".repeat(2_000);

  const blocks = blocksOf([{ kind: "text", text }]);

  assert.equal(blocks.map(textOf).join(""), text);
  assert.ok(blocks.length > 10);
  assert.ok(blocks.every((block) => textOf(block).endsWith("\n") && textOf(block).length <= 4_000));
});

test("many parts come in blocks, in which a fold keeps what it hides", () => {
  const parts = [...Array(3_000)].map(() => ({ kind: "del", text: "word " }));
  const fold = { kind: "fold", text: "", folded: "hidden" };

  const blocks = blocksOf([...parts, fold]);

  assert.deepEqual(blocks.flat().at(-1), fold);
  assert.ok(blocks.length > 5);
});
