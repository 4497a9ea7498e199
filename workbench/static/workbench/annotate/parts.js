// What the views of a text are made of: lists of parts {kind, text}, which views.js turns into nodes. `kind` is
// "text"; "del" or "ins", marked by the diff; "unseen", a character that has no shape of its own; or "fold", which
// hides its `folded` behind a button.

const FOLD_SHARED = 400; // characters of a shared stretch above which the diff folds its middle
const CONTEXT = 80;
const LONG = 20_000; // characters, or
const MANY = 2_000; // parts, from which on they are put into blocks,
const BLOCK = 4_000; // of about so many characters
const LINE = /[^\n]{0,4000}\n|[^\n]{1,4000}/gu;
// Controls, spaces that are none or that do not break, joiners, marks of direction; and spaces that end a line.
const UNSEEN =
  // biome-ignore lint/suspicious/noControlCharactersInRegex: these are looked for
  // biome-ignore lint/suspicious/noMisleadingCharacterClass: each is looked for by itself
  /[\u0000-\u0009\u000b-\u001f\u007f-\u00a0\u00ad\u061c\u180e\u2000-\u200f\u2028-\u202f\u205f-\u206f\u3000\ufe00-\ufe0f\ufeff]| +$/gmu;

const plain = (text) => ({ kind: "text", text });

/** One side of a diff: its own pieces marked as `mark`, "del" or "ins", and long shared ones folded. */
export function diffParts(pieces, side, mark) {
  const ofSide = pieces.filter(({ kind }) => kind === "same" || kind === side);
  return ofSide.flatMap(({ kind, text }, i) =>
    kind === "same" ? foldedParts(text, i === 0, i === ofSide.length - 1) : [{ kind: mark, text }],
  );
}

function foldedParts(text, isFirst, isLast) {
  if (text.length <= FOLD_SHARED) return [plain(text)];
  const start = isFirst ? 0 : wordStart(text, CONTEXT);
  const end = isLast ? text.length : wordStart(text, text.length - CONTEXT);
  return [
    plain(text.slice(0, start)),
    { kind: "fold", text: "", folded: text.slice(start, end) },
    plain(text.slice(end)),
  ];
}

/** Where a word begins at or a little before `at`; else `at` itself, or one before where that would part a character. */
export function wordStart(text, at) {
  const start = text.lastIndexOf(" ", at - 1) + 1;
  if (at - start < CONTEXT / 2) return start;
  return /[\udc00-\udfff]/.test(text[at]) ? at - 1 : at;
}

/** Every character as a mark that can be seen: for what a page would swallow, and for mixed directions. */
export function rawParts(text) {
  const parts = [];
  let end = 0;
  for (const { 0: unseen, index } of text.matchAll(UNSEEN)) {
    parts.push(plain(text.slice(end, index)));
    parts.push({
      kind: "unseen",
      text: unseen.startsWith(" ") ? "·".repeat(unseen.length) : nameOf(unseen),
    });
    end = index + unseen.length;
  }
  parts.push(plain(text.slice(end)));
  return parts;
}

const nameOf = (character) =>
  character === "\t" ? "⇥\t" : `U+${character.codePointAt(0).toString(16).toUpperCase().padStart(4, "0")}`;

/** Many or long parts as blocks of parts, cut at the ends of lines; null where they are few and short. */
export function blocksOf(parts) {
  const length = parts.reduce((n, { text }) => n + text.length, 0);
  if (length < LONG && parts.length < MANY) return null;
  const blocks = [];
  let block = [];
  let size = 0;
  for (const part of parts) {
    for (const line of part.text.match(LINE) ?? [""]) {
      block.push({ ...part, text: line });
      size += 20 + line.length; // 20: an element is more work than a letter
      if (size < (line.endsWith("\n") ? BLOCK : 2 * BLOCK)) continue;
      blocks.push(block);
      [block, size] = [[], 0];
    }
  }
  if (block.length) blocks.push(block);
  return blocks;
}
