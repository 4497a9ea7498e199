// The views of the texts of an item: plain, Markdown, raw, and the diff of two answers.

import { diff, similarity } from "../diff.js";
import { form, urls } from "./page.js";
import { blocksOf, diffParts, rawParts, wordStart } from "./parts.js";

const UNFOLDED = 20_000; // characters of a fold shown at once: a browser takes seconds to break a megabyte into lines
const LONGEST_RAW = 100_000;
const RAW_HINT = "Raw: invisible characters are named, · is a space at the end of a line, ⇥ a tab.";
const LONG_STAYS_PLAIN = "Texts too long for this view stay plain.";
const HAS_MARKUP = "These texts have Markdown. The Markdown button (m) renders it.";
const REMEMBERED = "annotate-view";

// What is hard to read as it is typed: a heading, a fence, a row of a table, bold words. A list is not.
const MARKUP = /^ {0,3}(#{1,6} +\S|```|~~~|\|.*\|[ \t]*$)|\*\*[^\s*][^*\n]*\*\*/m;

const viewHint = document.getElementById("view-hint");
let view = localStorage.getItem(REMEMBERED) ?? "plain";
let beforeDiff = view === "diff" ? "plain" : view;

export const toggledDiff = () => (view === "diff" ? beforeDiff : "diff");

export function nextView() {
  const views = ["plain", "markdown", "raw"];
  return views[(views.indexOf(view) + 1) % views.length];
}

function hasMarkup(item) {
  item.hasMarkup ??= plainTexts(item.element).some((text) => MARKUP.test(readingOf(text)));
  return item.hasMarkup;
}

export function chooseView(name) {
  if (name === "diff") beforeDiff = view;
  view = name;
  localStorage.setItem(REMEMBERED, view);
}

/** Show an item in the chosen view. `isCurrent` tells whether the item is still on screen when the view is there. */
export async function applyView(item, isCurrent) {
  form.querySelector("[data-do=diff]").setAttribute("aria-pressed", view === "diff");
  const button = form.querySelector("[data-do=view]");
  button.setAttribute("aria-pressed", view === "markdown" || view === "raw");
  button.querySelector("span").textContent = view === "raw" ? "Raw" : "Markdown";
  const applied = view;
  const nodes = await prepareView(item);
  if (!isCurrent() || view !== applied) return;
  viewHint.textContent = hintOf(item, nodes);
  plainTexts(item.element).forEach((text, i) => {
    text.parentElement.querySelector("[data-view]")?.remove();
    const node = nodes?.[i];
    text.hidden = Boolean(node);
    if (!node) return;
    node.dataset.view = view;
    text.after(node);
  });
}

/** The nodes of the chosen view, one for each text, made once: they stand beside the plain ones and take turns. */
export async function prepareView(item) {
  if (view === "markdown") return markdownOf(item);
  if (view === "raw") return rawOf(item);
  if (view === "diff" && !item.ranks) return diffOf(item);
  return null;
}

function hintOf(item, nodes) {
  if (view === "diff") return item.diffHint ?? "";
  // What is judged is shown as it will be trained on, so nothing is rendered until somebody asks.
  if (view === "plain") return hasMarkup(item) ? HAS_MARKUP : "";
  if (!nodes) return "The Markdown view cannot be loaded now. This is the plain text.";
  const hints = view === "raw" ? [RAW_HINT] : [];
  if (!nodes.every(Boolean)) hints.push(LONG_STAYS_PLAIN);
  return hints.join(" ");
}

/** What is read of a text: an answer of several parts says it, as its parts have labels of their own. */
const readingOf = (text) => text.dataset.reads ?? text.textContent;
const plainTexts = (element) => [...element.querySelectorAll("[data-text]")];

function markdownOf(item) {
  item.markdown ??= fetch(`${urls.markdown}?comparison=${item.comparison}&claim=${item.claim}`, {
    redirect: "manual",
  })
    .then(async (response) => {
      if (!response.ok) throw new Error(`The server answered ${response.status}.`);
      const template = document.createElement("template");
      template.innerHTML = await response.text();
      return [...template.content.children].map((text) => ("tooLong" in text.dataset ? null : text));
    })
    .catch(() => (item.markdown = null)); // so that the next look asks again
  return item.markdown;
}

function diffOf(item) {
  if (item.diff) return item.diff;
  const texts = plainTexts(item.element);
  const [left, right] = ["left", "right"].map((side) => texts.find((text) => text.dataset.text === side));
  const pieces = diff(readingOf(left), readingOf(right));
  item.diff = texts.map((text) => {
    if (text === left) return diffNode(text, pieces, "left", "del");
    if (text === right) return diffNode(text, pieces, "right", "ins");
    return null;
  });
  if (!pieces) item.diffHint = "These answers are too long and too different to compare.";
  else if (similarity(pieces) < 0.2)
    item.diffHint = "These answers have little in common, so most words are marked.";
  return item.diff;
}

function diffNode(text, pieces, side, mark) {
  if (!pieces) return null;
  const copy = emptied(text);
  copy.classList.toggle("mono", text.querySelector(".code") !== null);
  draw(diffParts(pieces, side, mark), copy);
  return copy;
}

function rawOf(item) {
  item.raw ??= plainTexts(item.element).map((text) => {
    if (readingOf(text).length > LONGEST_RAW) return null;
    const copy = emptied(text);
    copy.dir = "ltr";
    copy.classList.add("mono", "raw");
    draw(rawParts(readingOf(text)), copy);
    return copy;
  });
  return item.raw;
}

/** The element of a text as the place for another view of it. */
function emptied(text) {
  const copy = text.cloneNode(false);
  delete copy.dataset.text;
  delete copy.dataset.reads;
  copy.hidden = false;
  return copy;
}

/** Parts into a box. The browser lays out a block when it is about to be seen. */
function draw(parts, box) {
  const blocks = blocksOf(parts);
  if (!blocks) return box.append(...parts.map(nodeOf));
  for (const block of blocks) {
    const element = elementOf("div", "", "block");
    element.append(...block.map(nodeOf));
    box.append(element);
  }
  return undefined;
}

function nodeOf({ kind, text, folded }) {
  if (kind === "text") return text;
  if (kind === "fold") return foldButton(folded);
  return kind === "unseen" ? elementOf("span", text, "unseen") : elementOf(kind, text, "");
}

const elementOf = (name, textContent, className) =>
  Object.assign(document.createElement(name), { textContent, className });

function foldButton(folded) {
  const button = elementOf("button", "", "quiet same");
  button.type = "button";
  const label = () => (button.textContent = `⋯ ${folded.length.toLocaleString("en")} identical characters ⋯`);
  button.addEventListener("click", () => {
    const end = folded.length > UNFOLDED ? wordStart(folded, UNFOLDED) : folded.length;
    button.before(folded.slice(0, end));
    folded = folded.slice(end);
    if (folded) label();
    else button.remove();
  });
  label();
  return button;
}
