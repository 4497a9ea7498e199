// Word by word, what two texts share. Plain functions of strings, so that they can be tried in any console.

// Above this many cells the table below takes too long for a key press: then words give way to lines.
const CELLS = 6_000_000;
export const LONGEST = 100_000; // characters from the first difference to the last: what can be marked at a key press

/** Words, runs of white space, and single other characters; joined they are the text again. */
export function words(text) {
  return text.match(/[\p{L}\p{N}\p{M}_]+|\s+|[^\p{L}\p{N}\p{M}_\s]/gu) ?? [];
}

export function lines(text) {
  return text.match(/[^\n]*\n|[^\n]+$/g) ?? [];
}

/**
 * Pieces of both texts in order: [{kind: "same" | "left" | "right", text}]. Leaving out "right" gives the left
 * text and leaving out "left" the right one, character for character. Null when they are too long to compare.
 */
export function diff(left, right) {
  const ends = sharedWords(left, right);
  const middle = [left, right].map((text) => text.slice(ends.start, text.length - ends.end));
  if (Math.max(...middle.map((text) => text.length)) > LONGEST) return null;
  const same = (text) => ({ kind: "same", text });
  for (const split of [words, lines]) {
    const [one, other] = middle.map(split);
    const shared = sharedEnds(one, other);
    const inner = [one, other].map((tokens) => tokens.slice(shared.start, tokens.length - shared.end));
    if (inner[0].length * inner[1].length <= CELLS) {
      return calmed([
        same(left.slice(0, ends.start)),
        ...one.slice(0, shared.start).map(same),
        ...table(...inner),
        ...one.slice(one.length - shared.end).map(same),
        same(left.slice(left.length - ends.end)),
      ]);
    }
  }
  return null;
}

/** How many characters both begin and end with, up to a space, so that no word is cut: a megabyte is not split
 * into words where two texts differ in a line. */
function sharedWords(left, right) {
  const shared = sharedEnds(left, right);
  const isSpace = (at) => /\s/.test(left[at]);
  let { start, end } = shared;
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

/** Of two strings or two lists of tokens. */
function sharedEnds(one, other) {
  const most = Math.min(one.length, other.length);
  let start = 0;
  while (start < most && one[start] === other[start]) start++;
  let end = 0;
  while (end < most - start && one[one.length - 1 - end] === other[other.length - 1 - end]) end++;
  return { start, end };
}

// Longest common subsequence: length[i][j] is that of the tokens from i on the left and from j on the right.
function table(one, other) {
  const width = other.length + 1;
  const length = new Uint16Array((one.length + 1) * width);
  for (let i = one.length - 1; i >= 0; i--) {
    for (let j = other.length - 1; j >= 0; j--) {
      length[i * width + j] =
        one[i] === other[j]
          ? length[(i + 1) * width + j + 1] + 1
          : Math.max(length[(i + 1) * width + j], length[i * width + j + 1]);
    }
  }
  const pieces = [];
  let i = 0;
  let j = 0;
  while (i < one.length || j < other.length) {
    if (i < one.length && j < other.length && one[i] === other[j]) {
      pieces.push({ kind: "same", text: one[i] });
      i++;
      j++;
    } else if (
      j === other.length ||
      (i < one.length && length[(i + 1) * width + j] >= length[i * width + j + 1])
    ) {
      pieces.push({ kind: "left", text: one[i++] });
    } else {
      pieces.push({ kind: "right", text: other[j++] });
    }
  }
  return pieces;
}

/** With the spaces between two changed words changed as well: one mark for a stretch, and not one for each word. */
function calmed(pieces) {
  const result = [];
  let run = [];
  const close = () => {
    const changed = ["left", "right"].map((kind) => run.filter((piece) => piece.kind === kind).length > 0);
    const spaces = [];
    while (run.at(-1)?.kind === "same") spaces.unshift(run.pop()); // what ends a run is not between two changes
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
