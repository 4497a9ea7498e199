// The difference of two texts word by word, for the views of a page. jsdiff compares; this module splits and marks.

import { diffArrays, diffLines } from "./vendor/jsdiff.js";

/** Characters from the first difference to the last. Above this, texts are not compared at a key press. */
export const LONGEST = 100_000;
const TIME_LIMIT = { timeout: 250 }; // milliseconds for the words, and as many for the lines after them

/** Words, runs of white space, and single other characters. Joined, the tokens are the text again. */
const words = (text) => text.match(/[\p{L}\p{N}\p{M}_]+|\s+|[^\p{L}\p{N}\p{M}_\s]/gu) ?? [];

/**
 * Pieces of both texts in order: [{kind: "same" | "left" | "right", text}]. The pieces without "right" give the
 * left text, those without "left" the right one, character for character. Texts whose words differ too much for
 * the time limit are compared by lines. Null when the texts are too long or too different for lines as well.
 */
export function diff(left, right) {
  const { start, end } = sharedWords(left, right);
  const [leftMiddle, rightMiddle] = [left, right].map((text) => text.slice(start, text.length - end));
  if (Math.max(leftMiddle.length, rightMiddle.length) > LONGEST) return null;
  const changes =
    diffArrays(words(leftMiddle), words(rightMiddle), TIME_LIMIT) ??
    diffLines(leftMiddle, rightMiddle, TIME_LIMIT);
  if (!changes) return null;
  return calmed([
    { kind: "same", text: left.slice(0, start) },
    ...changes.map(pieceOf),
    { kind: "same", text: left.slice(left.length - end) },
  ]);
}

/** A change of jsdiff as a piece. Its value is a string for lines and a list of tokens for words. */
function pieceOf({ added, removed, value }) {
  const kind = added ? "right" : removed ? "left" : "same";
  return { kind, text: typeof value === "string" ? value : value.join("") };
}

/** How many characters both texts begin and end with, up to a space, so that no word is cut. A megabyte is not split
 * into words where two texts differ in a line. */
function sharedWords(left, right) {
  const most = Math.min(left.length, right.length);
  let start = 0;
  while (start < most && left[start] === right[start]) start++;
  let end = 0;
  while (end < most - start && left[left.length - 1 - end] === right[right.length - 1 - end]) end++;
  const isSpace = (at) => /\s/.test(left[at]);
  while (start > 0 && !isSpace(start - 1)) start--;
  while (end > 0 && !isSpace(left.length - end)) end--;
  return { start, end };
}

/** How much of both texts is the same, from 0 to 1, by characters. */
export function similarity(pieces) {
  const length = (kind) =>
    pieces.filter((piece) => piece.kind === kind).reduce((n, piece) => n + piece.text.length, 0);
  const same = 2 * length("same");
  return same / Math.max(1, same + length("left") + length("right"));
}

/** The pieces with spaces between two changed words marked too: one mark a stretch, not one a word. */
function calmed(pieces) {
  const result = [];
  let run = [];
  const close = () => {
    const changed = ["left", "right"].map((kind) => run.filter((piece) => piece.kind === kind).length > 0);
    const spaces = [];
    while (run.at(-1)?.kind === "same") spaces.unshift(run.pop()); // trailing spaces are not between two changes
    if (changed.every(Boolean)) {
      for (const kind of ["left", "right"]) {
        result.push({
          kind,
          text: run
            .filter((piece) => [kind, "same"].includes(piece.kind))
            .map(({ text }) => text)
            .join(""),
        });
      }
    } else result.push(...run);
    result.push(...spaces);
    run = [];
  };
  for (const piece of joined(pieces)) {
    if (piece.kind !== "same" || (run.length && /^[^\S\n]+$/.test(piece.text))) run.push(piece);
    else {
      close();
      result.push(piece);
    }
  }
  close();
  return joined(result);
}

function joined(pieces) {
  const result = [];
  for (const { kind, text } of pieces.filter((piece) => piece.text)) {
    if (result.at(-1)?.kind === kind) result.at(-1).text += text;
    else result.push({ kind, text });
  }
  return result;
}
