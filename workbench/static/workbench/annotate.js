// The annotation page at speed: the next Comparisons are fetched ahead, answers are sent in the background, and
// everything has a key. Without this script the page is a form that does the same, one request at a time.

import { diff, similarity } from "./diff.js";
import { answerOf, charactersAct, isText, keyOf, labelKeys } from "./keys.js";
import { appeared, restartTime, secondsLooked, takes } from "./onscreen.js";
import { newKey, Outbox, post } from "./outbox.js";
import * as ranking from "./ranking.js";

const AHEAD = 2;
const FOLD_SHARED = 400; // characters of a shared stretch above which the diff folds its middle
const CONTEXT = 80;
const UNFOLDED = 20_000; // characters of a fold shown at once: a browser takes seconds to break a megabyte into lines
const LONG = 20_000; // characters, or
const MANY = 2_000; // parts of a diff or a raw view, from which on they are put into blocks,
const BLOCK = 4_000; // of about so many characters
const LINE = /[^\n]{0,4000}\n|[^\n]{1,4000}/gu;
const FOLD_PROMPT = 1500;
const LONGEST_RAW = 100_000;
// Controls, spaces that are none or that do not break, joiners, marks of direction; and spaces that end a line.
const UNSEEN =
  // biome-ignore lint/suspicious/noControlCharactersInRegex: these are looked for
  // biome-ignore lint/suspicious/noMisleadingCharacterClass: each is looked for by itself
  /[\u0000-\u0009\u000b-\u001f\u007f-\u00a0\u00ad\u061c\u180e\u2000-\u200f\u2028-\u202f\u205f-\u206f\u3000\ufe00-\ufe0f\ufeff]| +$/gmu;
const RAW_HINT = "Raw: invisible characters are named, · is a space at the end of a line, ⇥ a tab.";
const LONG_STAYS_PLAIN = "Texts too long for this view stay plain.";
const LOOK_AGAIN = 15_000;
const PATIENCE = 1500; // milliseconds to wait for what the model says before the next one is shown anyway

const root = document.getElementById("annotate");
const stage = document.getElementById("stage");
const form = document.getElementById("answers");
const reveal = document.getElementById("reveal");
const notice = document.getElementById("notice");
const saved = document.getElementById("saved");
const viewHint = document.getElementById("view-hint");
const comment = form.elements.comment;
const flagDialog = document.getElementById("flag");
const keysDialog = document.getElementById("keys");
const guidelines = document.getElementById("guidelines");
const straightOn = document.getElementById("straight-on");
const urls = root.dataset;

const WORDS = JSON.parse(root.dataset.words); // of each answer
const wordsOf = (answer) =>
  answer.startsWith("ranks:")
    ? ranking.inWords(answer)
    : WORDS[answer.split(":")[0]] + (answer.endsWith(":2") ? ", much better" : "");

const ARCHIVED =
  "This dataset is archived and takes no votes now. Your votes stay in this browser and are sent when an admin restores it.";

let current = null; // the item on screen
let ahead = []; // items fetched and not yet shown
let past = []; // items answered or skipped here, newest last
let newer = []; // those of them that undo has gone past, oldest first
let fetching = null;
let again = new URLSearchParams(location.search).has("again");
let view = localStorage.getItem("annotate-view") ?? "plain";

const outbox = new Outbox(urls.user, { reply: onReply, refused: onRefused, state: onState });

// Items

/** An item is its element, the server's word on it, and what was decided here: `answer` ("left:2") under `key`. */
function itemOf(element) {
  const { comparison, claim, key, suggested, supersedes, judgment, answer, comment } = element.dataset;
  const ranks = Number(element.dataset.ranks ?? 0); // how many there are to rank, 0 for two to compare
  const hasReveal = "hasReveal" in element.dataset; // something to wait for after the answer
  return {
    element,
    comparison,
    claim,
    key,
    hasReveal,
    suggested,
    supersedes,
    judgment,
    answer,
    comment,
    ranks,
    groups: [],
  };
}

function parse(html) {
  const template = document.createElement("template");
  template.innerHTML = html;
  return template.content.querySelector(".item, [data-end]");
}

const draftName = (item) => `draft:${urls.user}:${item.claim}`;
const rankingName = (item) => `ranking:${urls.user}:${item.claim}`;

function show(item, state = "open") {
  current = item;
  restartTime();
  appeared();
  stage.replaceChildren(item.element);
  form.hidden = false;
  form.elements.comparison.value = item.comparison;
  form.elements.claim.value = item.claim;
  comment.value = localStorage.getItem(draftName(item)) ?? item.comment ?? "";
  toggleComment(comment.value !== "");
  reveal.replaceChildren();
  form.dataset.kind = item.ranks ? "ranking" : "pair";
  setState(state);
  markAnswer(item.answer);
  if (item.ranks) startRanking(item);
  foldPrompt(item);
  watchSides(item);
  applyView();
  scrollTo(0, 0);
  item.element.focus({ preventScroll: true });
  fill();
}

/** "open": to be judged; "waiting": judged, the model's word is on its way; "revealed"; "reopened"; "end". */
function setState(state) {
  form.dataset.state = state;
  if (state === "open" && !notice.hasAttribute("data-stays")) dismiss();
}

function markAnswer(answer) {
  const [side] = (answer ?? "").split(":");
  for (const button of form.querySelectorAll("[name=answer]:not([data-do])")) {
    button.setAttribute("aria-pressed", button.value === answer);
  }
  for (const pane of stage.querySelectorAll(".panes:not(.many) .pane")) {
    pane.toggleAttribute("data-chosen", pane.dataset.side === side);
  }
}

// Rankings

let level = false; // the next one is as good as the last

function startRanking(item) {
  const begun = ranking.groupsIn(localStorage.getItem(rankingName(item)), item.ranks);
  item.groups = begun ?? (item.answer?.startsWith("ranks:") ? ranking.groupsFrom(item.answer) : []);
  rankingIs(item.groups);
}

function rankingIs(groups) {
  current.groups = groups;
  setLevel(false);
  ranking.draw(groups, current.ranks, stage.querySelectorAll(".pane"), form.querySelector(".ranking"));
}

function setLevel(on) {
  level = on;
  form.querySelector("[data-do=level]").setAttribute("aria-pressed", on);
}

const isRanking = () => Boolean(current?.ranks) && ["open", "reopened"].includes(form.dataset.state);

function place(name, asGood = level) {
  if (isRanking() && Number(name) >= 1 && Number(name) <= current.ranks)
    rankingBecomes(ranking.place(current.groups, name, asGood));
}

function unplace() {
  if (isRanking()) rankingBecomes(ranking.takeBack(current.groups));
}

/** As `rankingIs`, and a reload finds it again. */
function rankingBecomes(groups) {
  rankingIs(groups);
  localStorage.setItem(rankingName(current), JSON.stringify(groups));
}

function rank() {
  if (!isRanking() || !ranking.isComplete(current.groups, current.ranks)) return;
  rankingIs(ranking.completed(current.groups, current.ranks));
  answer(ranking.answerFrom(current.groups, current.ranks));
}

/** What this key does in a ranking, or undefined when it is none of its keys. */
function rankingAct(key, event) {
  if (/^[1-9]$/.test(key)) return () => place(key, event.shiftKey || level);
  const acts = {
    "=": () => setLevel(!level && current.groups.length > 0),
    Backspace: unplace,
    b: () => answer("both_bad"),
    n: () => answer("cannot_judge"),
  };
  if (key === "Enter" && current.groups.length && ranking.isComplete(current.groups, current.ranks))
    return rank;
  return acts[key];
}

function foldPrompt({ element }) {
  const turn = element.querySelector(".turn.last");
  if (turn.querySelector(".unfold") || turn.textContent.length < FOLD_PROMPT) return;
  const button = document.createElement("button");
  button.type = "button";
  button.className = "quiet unfold";
  button.textContent = "Show full prompt";
  button.addEventListener("click", () => {
    const folded = turn.classList.toggle("folded");
    button.textContent = folded ? "Show full prompt" : "Fold prompt";
  });
  turn.classList.add("folded");
  turn.append(button);
}

/** On a narrow screen the sides are one below the other: the switch tells which of them is being read. */
function watchSides({ element }) {
  const seen = new IntersectionObserver(
    (entries) => {
      for (const { target, isIntersecting } of entries) {
        element
          .querySelector(`.sides [href="#${target.id}"]`)
          .toggleAttribute("data-in-view", isIntersecting);
      }
    },
    { rootMargin: "-25% 0px -50% 0px" },
  );
  element.querySelectorAll(".pane").forEach((pane) => seen.observe(pane));
}

// The queue

const unsaved = () => outbox.entries().map((entry) => entry.fields.comparison);

async function fetchOne() {
  const have = [current, ...ahead].filter(Boolean).map((item) => item.comparison);
  const fields = { have: [...new Set([...have, ...unsaved()])].join(",") };
  if (again) fields.again = "on";
  const response = await post(urls.next, fields, "text/html");
  // 403: the token of this page belongs to a login that is over.
  if (response.type === "opaqueredirect" || response.status === 403) throw new LoggedOut();
  if (response.status === 404) throw new NotAMember();
  if (response.status === 423) throw new Archived();
  if (response.status === 204) return null;
  if (!response.ok)
    throw new Error(
      `The next pair could not be loaded (error ${response.status}). This page tries again by itself.`,
    );
  return parse(await response.text());
}

class LoggedOut extends Error {}
class NotAMember extends Error {}
class Archived extends Error {}

/** Fetch ahead until enough is here. Resolves when nothing is being fetched. */
function fill() {
  fetching ??= fillUp().finally(() => (fetching = null));
  return fetching;
}

async function fillUp() {
  try {
    while (ahead.length < AHEAD) {
      const element = await fetchOne();
      if (!element || element.matches("[data-end]")) return element;
      ahead.push(itemOf(element));
      preparedView(ahead.at(-1));
    }
  } catch (error) {
    if (![LoggedOut, NotAMember, Archived, TypeError].some((known) => error instanceof known))
      tell(error.message);
    return error;
  }
  return null;
}

/** Show what comes next, at once when it is here already. */
async function advance() {
  if (ahead.length) return show(ahead.shift());
  current = null;
  setState("end");
  stage.setAttribute("aria-busy", "true");
  let result = await fill();
  if (!result && !ahead.length) {
    // The server counts what was on its way as held: what is left it can tell now that it has arrived.
    await outbox.flush();
    result = await fill();
  }
  stage.removeAttribute("aria-busy");
  if (current) return undefined;
  if (ahead.length) return show(ahead.shift());
  return showEnd(result);
}

/** The server has nothing, or cannot be reached: say which, and look again before long. */
function showEnd(result) {
  form.hidden = true;
  const section = result instanceof Element ? result : pause(result);
  // What is looked at again and has not changed keeps its place, and with it the focus of whoever is there.
  if (stage.textContent !== section.textContent) stage.replaceChildren(section);
  if (document.activeElement === document.body) stage.firstElementChild.focus({ preventScroll: true });
  const isFinal = [Element, NotAMember, Archived].some((kind) => result instanceof kind);
  setTimeout(() => current || document.hidden || advance(), isFinal ? LOOK_AGAIN : 700);
}

function pause(result) {
  const section = document.createElement("section");
  section.className = "end";
  section.tabIndex = -1;
  const heading = document.createElement("h2");
  const line = document.createElement("p");
  [heading.textContent, line.textContent] = whyNot(result);
  section.append(heading, line);
  return section;
}

function whyNot(result) {
  const kept = "Your votes stay in this browser and are sent when";
  if (result instanceof NotAMember)
    return [
      "You have no access to this dataset any more",
      "An admin removed you or deleted the dataset. Ask an admin about your access.",
    ];
  if (result instanceof Archived)
    return [
      "This dataset is archived",
      `It takes no votes for now. ${kept} an admin restores it. This page checks again by itself.`,
    ];
  if (result instanceof LoggedOut)
    return [
      "The next pair cannot be loaded now",
      "Your login has expired. Log in again in a new tab; this page then continues by itself.",
    ];
  if (result instanceof Error)
    return [
      "The next pair cannot be loaded now",
      `There is no connection to the server. ${kept} it is back.`,
    ];
  return ["Saving your last votes", "The next pair comes after that."];
}

document.addEventListener("visibilitychange", () => {
  if (!document.hidden && !current) advance();
  if (!document.hidden) hold();
});

// Answers

function send(item, answer) {
  const fields = {
    user: urls.user,
    comparison: item.comparison,
    claim: item.claim,
    key: item.key,
    answer,
    supersedes: item.supersedes ?? "",
    guidelines: urls.guidelines,
    seconds: secondsLooked().toFixed(2),
    comment: comment.value,
  };
  localStorage.removeItem(draftName(item));
  localStorage.removeItem(rankingName(item));
  outbox.add(urls.judge, fields);
  // Whatever changes this answer later names it by its key.
  Object.assign(item, { answer, comment: comment.value, supersedes: item.key, key: newKey() });
}

function answer(value) {
  const state = form.dataset.state;
  if (!current || !["open", "reopened"].includes(state)) return;
  const first = !current.supersedes;
  if (!first && value === current.answer && comment.value === (current.comment ?? "")) return goOn();
  send(current, value);
  markAnswer(value);
  if (first) count((current.ranks * (current.ranks - 1)) / 2 || 1);
  if (straightOn.checked && (current.hasReveal || lastReveal())) showLastReveal("");
  else lastReveal()?.remove();
  if (!first || !current.hasReveal || straightOn.checked) return leave();
  setState("waiting");
  const waiting = current;
  setTimeout(() => waiting === current && form.dataset.state === "waiting" && leave(), PATIENCE);
  return undefined;
}

/** Done with this one, for now: undo finds it again. */
function leave() {
  localStorage.removeItem(rankingName(current));
  past.push(current, ...newer.splice(0));
  return advance();
}

function onReply(entry, reply) {
  const item = [current, ...past, ...newer].find((one) => one?.supersedes === entry.id);
  if (item && reply.judgment) item.judgment = reply.judgment;
  const isWaiting = item && item === current && form.dataset.state === "waiting";
  if (!reply.reveal) {
    if (isWaiting) leave();
    return;
  }
  if (!item) return;
  Object.assign(item, { said: reply.suggested, differs: reply.differs });
  if (isWaiting) showReveal(reply.reveal);
  else if (item === past.at(-1)) showLastReveal(reply.reveal);
}

function showReveal(html) {
  reveal.innerHTML = html;
  setState("revealed");
  appeared();
  reveal.querySelector(".verdict").id = "verdict";
  const goOnButton = reveal.querySelector(".primary");
  goOnButton.setAttribute("aria-describedby", "verdict"); // so that a screen reader says it with the focus
  goOnButton.focus({ preventScroll: true });
}

const lastReveal = () => document.querySelector(".last-reveal");

/** The line about the last pair. It keeps its place while it is empty, so that the texts do not move. */
function showLastReveal(html) {
  const line = lastReveal() ?? document.createElement("div");
  line.className = "last-reveal";
  line.innerHTML =
    html &&
    `<span>Last pair</span>${html}<button type="button" class="quiet" data-do="undo">Undo <kbd>u</kbd></button>`;
  root.prepend(line);
}

/** Keep the answer in view of what the model said. It is stored as such where the two differ. */
function keep() {
  if (current.differs) send(current, current.answer);
  leave();
}

function change() {
  if (form.dataset.state !== "revealed" || !current.differs) return;
  send(current, current.said);
  markAnswer(current.said);
  leave();
}

function confirmSuggestion() {
  if (form.dataset.state === "open" && current?.suggested) answer(current.suggested);
}

function goOn() {
  const state = form.dataset.state;
  if (state === "revealed") return keep();
  if (state === "waiting" || state === "reopened") return leave();
  return undefined;
}

function skip() {
  if (!current || form.dataset.state === "revealed") return;
  if (form.dataset.state === "reopened" && current.answer) return goOn();
  outbox.add(urls.skip, { user: urls.user, comparison: current.comparison, claim: current.claim });
  leave();
}

const answeredJustNow = () => ["waiting", "revealed"].includes(form.dataset.state);
let undoing = false; // an earlier answer is on its way from the server

async function undo() {
  if (undoing) return;
  let target = answeredJustNow() ? current : past.pop();
  if (!target) {
    undoing = true;
    target = await reopenFromServer().finally(() => (undoing = false));
    if (target) newer.unshift(...past.splice(0));
  }
  if (!target) return;
  // Answered while the older one was on its way, it is one to go past, and not one to be handed out again.
  if (current && target !== current)
    (answeredJustNow() || form.dataset.state === "reopened" ? newer : ahead).unshift(current);
  if (lastReveal()) showLastReveal("");
  reopen(target);
}

function reopen(item) {
  show(item, item.answer ? "reopened" : "open");
  document.getElementById("was").textContent = item.answer ? wordsOf(item.answer) : "";
}

async function reopenFromServer() {
  await outbox.flush();
  // An answer has its Judgment only once it has arrived.
  const known = [...past, current, ...newer].map((item) => Number(item?.judgment)).filter(Boolean);
  const response = await fetch(`${urls.undo}${known.length ? `?before=${Math.min(...known)}` : ""}`, {
    headers: { "X-Requested-With": "fetch" },
    redirect: "manual",
  }).catch(() => null);
  if (response?.ok) return itemOf(parse(await response.text()));
  tell(
    response?.status === 404
      ? "You have no earlier vote to reopen."
      : "Your earlier votes cannot be loaded now. Try again.",
  );
  return null;
}

/** A ranking counts as the Comparisons that it implies. */
function count(answers) {
  for (const number of ["today", "hour"].map((id) => document.getElementById(id))) {
    number.textContent = (Number(number.textContent.replace(/\D/g, "")) + answers).toLocaleString("en");
  }
}

// What is told

function onState(state, n) {
  saved.dataset.state = state;
  const words = {
    saved: "saved ✓",
    saving: "saving…",
    waiting: `${n} not saved yet: no connection, trying again`,
    login: `${n} not saved yet: your login has expired. `,
    archived: `${n} not saved yet: the dataset is archived, trying again`,
  };
  saved.textContent = words[state];
  if (state === "login") {
    const link = document.createElement("a");
    Object.assign(link, {
      href: `${urls.login}?next=${urls.next.replace(/next\/$/, "")}`,
      target: "_blank",
      textContent: "Log in in a new tab",
    });
    saved.append(link);
  }
  if (state === "archived") tell(ARCHIVED, true);
  if (state === "saved" && notice.querySelector("span").textContent === ARCHIVED) dismiss();
  if (form.dataset.state === "waiting" && ["waiting", "login", "archived"].includes(state)) leave();
}

function onRefused(entry, sentence, { stands }) {
  const what = entry.fields.answer ? `Your vote “${wordsOf(entry.fields.answer)}” was not saved. ` : "";
  const item = stands && [current, ...past, ...newer].find((one) => one?.supersedes === entry.id);
  if (item) standsInstead(item, stands);
  tell(what + sentence, true);
  if (form.dataset.state === "waiting") leave();
}

/** Another window has answered: this is what undo shows next, and what the next answer supersedes. */
function standsInstead(item, stands) {
  Object.assign(item, stands);
  if (item === current) return form.dataset.state === "reopened" ? reopen(item) : undefined;
  [past, newer] = [past, newer].map((items) => items.filter((other) => other !== item));
  past.push(item);
  return undefined;
}

/** `stays`: until it is dismissed, and not only until the next one is shown. */
function tell(sentence, stays = false) {
  notice.querySelector("span").textContent = sentence;
  notice.toggleAttribute("data-stays", stays);
  notice.hidden = false;
}

function dismiss() {
  notice.hidden = true;
  notice.removeAttribute("data-stays");
}

// Views of the texts

/** What is read of a text: an answer of several parts says it, as its parts have labels of their own. */
const readingOf = (text) => text.dataset.reads ?? text.textContent;
const plainTexts = (element) => [...element.querySelectorAll("[data-text]")];

/** The nodes of another view, one for each text, made once: they stand beside the plain ones and take turns. */
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
    if (text === left) return drawn(text, pieces, "right", "del");
    if (text === right) return drawn(text, pieces, "left", "ins");
    return null;
  });
  if (!pieces) item.diffHint = "These answers are too long and too different to compare.";
  else if (similarity(pieces) < 0.2)
    item.diffHint = "These answers have little in common, so most words are marked.";
  return item.diff;
}

function drawn(text, pieces, without, mark) {
  if (!pieces) return null;
  const copy = emptied(text);
  copy.classList.toggle("mono", text.querySelector(".code") !== null);
  const own = pieces.filter(({ kind }) => kind !== without);
  put(
    own.flatMap((piece, i) => partsOf(piece, mark, i === 0, i === own.length - 1)),
    copy,
  );
  return copy;
}

/** The element of a text as the place for another view of it. */
function emptied(text) {
  const copy = text.cloneNode(false);
  delete copy.dataset.text;
  delete copy.dataset.reads;
  copy.hidden = false;
  return copy;
}

const asText = (text) => text;
const asElement = (name, className) => (text) =>
  Object.assign(document.createElement(name), { textContent: text, className });

/** Of one piece of a diff: [text, how to make a node of it]. */
function partsOf({ kind, text }, mark, isFirst, isLast) {
  if (kind !== "same") return [[text, asElement(mark, "")]];
  if (text.length <= FOLD_SHARED) return [[text, asText]];
  const start = isFirst ? 0 : wordNear(text, CONTEXT);
  const end = isLast ? text.length : wordNear(text, text.length - CONTEXT);
  return [
    [text.slice(0, start), asText],
    ["", () => fold(text.slice(start, end))],
    [text.slice(end), asText],
  ];
}

/** Parts into a box; many of them, or long ones, in blocks that are laid out when they are about to be seen. */
function put(parts, box) {
  const length = parts.reduce((n, [text]) => n + text.length, 0);
  if (length < LONG && parts.length < MANY) return box.append(...parts.map(([text, make]) => make(text)));
  let block = null;
  let size = 0;
  for (const [text, make] of parts) {
    for (const line of text.match(LINE) ?? [""]) {
      block ??= asElement("div", "block")("");
      block.append(make(line));
      size += 20 + line.length; // 20: an element is more work than a letter
      if (size < (line.endsWith("\n") ? BLOCK : 2 * BLOCK)) continue;
      box.append(block);
      [block, size] = [null, 0];
    }
  }
  if (block) box.append(block);
  return undefined;
}

/** Where a word begins at or a little before `at`; else `at` itself, or one before where that would part a character. */
function wordNear(text, at) {
  const start = text.lastIndexOf(" ", at - 1) + 1;
  if (at - start < CONTEXT / 2) return start;
  return /[\udc00-\udfff]/.test(text[at]) ? at - 1 : at;
}

function fold(text) {
  const button = document.createElement("button");
  button.type = "button";
  button.className = "quiet same";
  const label = () => (button.textContent = `⋯ ${text.length.toLocaleString("en")} identical characters ⋯`);
  button.addEventListener("click", () => {
    const end = text.length > UNFOLDED ? wordNear(text, UNFOLDED) : text.length;
    button.before(text.slice(0, end));
    text = text.slice(end);
    if (text) label();
    else button.remove();
  });
  label();
  return button;
}

/** Every character as a mark that can be seen: for what a page would swallow, and for mixed directions. */
function rawOf(item) {
  item.raw ??= plainTexts(item.element).map((text) => {
    if (readingOf(text).length > LONGEST_RAW) return null;
    const copy = emptied(text);
    copy.dir = "ltr";
    copy.classList.add("mono", "raw");
    const [source, parts, unseen] = [readingOf(text), [], asElement("span", "unseen")];
    let end = 0;
    for (const { 0: found, index } of source.matchAll(UNSEEN)) {
      parts.push([source.slice(end, index), asText]);
      parts.push([found.startsWith(" ") ? "·".repeat(found.length) : nameOf(found), unseen]);
      end = index + found.length;
    }
    parts.push([source.slice(end), asText]);
    put(parts, copy);
    return copy;
  });
  return item.raw;
}

const nameOf = (character) =>
  character === "\t" ? "⇥\t" : `U+${character.codePointAt(0).toString(16).toUpperCase().padStart(4, "0")}`;

async function preparedView(item) {
  if (view === "markdown") return markdownOf(item);
  if (view === "raw") return rawOf(item);
  if (view === "diff" && !item.ranks) return diffOf(item);
  return null;
}

async function applyView() {
  const item = current;
  form.querySelector("[data-do=diff]").setAttribute("aria-pressed", view === "diff");
  const button = form.querySelector("[data-do=view]");
  button.setAttribute("aria-pressed", view === "markdown" || view === "raw");
  button.querySelector("span").textContent = view === "raw" ? "Raw" : "Markdown";
  const wanted = view;
  const others = await preparedView(item);
  if (item !== current || view !== wanted) return;
  viewHint.textContent = hintOf(item, others);
  plainTexts(item.element).forEach((text, i) => {
    text.parentElement.querySelector("[data-view]")?.remove();
    const other = others?.[i];
    text.hidden = Boolean(other);
    if (!other) return;
    other.dataset.view = view;
    text.after(other);
  });
}

function hintOf(item, others) {
  if (view === "diff") return item.diffHint ?? "";
  if (view === "plain") return "";
  if (!others) return "The Markdown view cannot be loaded now. This is the plain text.";
  const hints = view === "raw" ? [RAW_HINT] : [];
  if (!others.every(Boolean)) hints.push(LONG_STAYS_PLAIN);
  return hints.join(" ");
}

const toggleDiff = () => setView(view === "diff" ? "plain" : "diff");

function nextView() {
  const views = ["plain", "markdown", "raw"];
  setView(views[(views.indexOf(view) + 1) % views.length]);
}

function setView(name) {
  view = name;
  localStorage.setItem("annotate-view", view);
  if (current) applyView();
}

// Comment, flag, guidelines

function toggleComment(open) {
  comment.closest(".comment").classList.toggle("open", open);
  form.querySelector("[data-do=comment]").setAttribute("aria-expanded", open);
}

function openComment() {
  // Where the next one may come by itself, what is being written would end on it.
  if (!current || !["open", "reopened"].includes(form.dataset.state)) return;
  toggleComment(true);
  comment.focus({ preventScroll: true });
}

comment.addEventListener("input", () => current && localStorage.setItem(draftName(current), comment.value));
comment.addEventListener("keydown", (event) => {
  if (event.key !== "Escape") return;
  toggleComment(comment.value !== "");
  current?.element.focus({ preventScroll: true });
});

function openDialog(dialog) {
  dialog.showModal();
  appeared();
}

// What is written or pressed while a dialog comes up or goes away was meant for what was there before.
for (const dialog of [flagDialog, keysDialog]) {
  dialog.addEventListener(
    "keydown",
    (event) => takes(event) || ["Escape", "Tab"].includes(event.key) || event.preventDefault(),
    true,
  );
  dialog.addEventListener("click", (event) => takes(event) || event.preventDefault(), true);
  dialog.addEventListener("close", appeared);
}

let flagged = null; // what the dialog is about: the one behind it may have gone by itself

function openFlag() {
  if (!current) return;
  flagged = current;
  flagDialog.querySelector("form").reset();
  openDialog(flagDialog);
}

flagDialog.addEventListener("keydown", (event) => {
  if (event.defaultPrevented) return;
  if (event.key === "Enter" && event.ctrlKey) return flagDialog.querySelector("[value=flag]").click();
  if (event.target.matches("textarea")) return;
  const reason = flagDialog.querySelectorAll("[name=reason]")[keyOf(event) - 1];
  if (!reason) return;
  event.preventDefault();
  reason.checked = true;
  reason.focus();
});

// Not at "close": that event comes later, when the dialog may have been opened again on the next one.
flagDialog.querySelector("form").addEventListener("submit", ({ submitter }) => {
  if (submitter.value !== "flag") return;
  const { reason, note } = Object.fromEntries(new FormData(flagDialog.querySelector("form")));
  const { comparison, element } = flagged;
  outbox.add(urls.flag, { user: urls.user, comparison, reason, note });
  const mark = element.querySelector(".flag-mark") ?? document.createElement("p");
  mark.className = "flag-mark";
  mark.textContent = `Flagged: ${flagDialog.querySelector(`[value=${reason}]`).dataset.label}`;
  element.prepend(mark);
});

function toggleGuidelines() {
  if (!guidelines) return;
  guidelines.hidden = !guidelines.hidden;
  document.body.classList.toggle("beside-guidelines", !guidelines.hidden);
  document.querySelector(".topbar [data-do=guidelines]").setAttribute("aria-expanded", !guidelines.hidden);
  if (!guidelines.hidden) localStorage.setItem("guidelines-read", urls.guidelines);
}

straightOn.addEventListener("change", async () => {
  if (!straightOn.checked) lastReveal()?.remove();
  const response = await post(urls.straightOn, straightOn.checked ? { straight_on: "on" } : {}).catch(
    () => null,
  );
  if (!response?.ok)
    tell("Your choice to go straight on was not saved. Choose again when you are connected.", true);
});

// Leases

async function hold() {
  const items = [current, ...ahead].filter((item) => item && !item.answer);
  if (!items.length) return;
  const response = await post(urls.hold, { have: items.map((item) => item.comparison).join(",") }).catch(
    () => null,
  );
  if (response?.status === 423) tell(ARCHIVED, true);
  if (!response?.ok) return;
  const { held, guidelines: newest } = await response.json();
  const isHeld = (item) => item.answer || held.includes(Number(item.comparison));
  ahead = ahead.filter(isHeld);
  if (current && !isHeld(current))
    tell("You’ve had this one a while. Answer now; it almost always still counts.");
  if (newest && String(newest) !== urls.guidelines)
    tell("There are new guidelines: reload the page to read them.", true);
}

setInterval(() => document.hidden || hold(), Number(urls.holdSeconds) * 1000);

// Keys and buttons

const ACTIONS = {
  comment: openComment,
  flag: openFlag,
  skip,
  undo,
  diff: () => current?.ranks || toggleDiff(),
  place: (button) => place(button.value),
  level: () => setLevel(!level),
  unplace,
  rank,
  view: nextView,
  guidelines: toggleGuidelines,
  keys: () => {
    openDialog(keysDialog);
    // Not by autofocus: the browser would want to give it the focus when the page opens.
    keysDialog.querySelector(".primary").focus();
  },
  confirm: confirmSuggestion,
  keep,
  change,
  dismiss,
  "go-on": goOn,
  again: () => {
    again = true;
    advance();
  },
};

// What stores something about the one on screen, so that it must have been looked at.
const STORING = ["confirm", "keep", "change", "go-on", "place", "rank", "skip"];

const LETTERS = {
  c: "comment",
  f: "flag",
  s: "skip",
  u: "undo",
  d: "diff",
  m: "view",
  g: "guidelines",
  "?": "keys",
  y: "confirm",
  r: "change",
};
document.addEventListener("keydown", (event) => {
  const key = keyOf(event);
  if (!key || document.querySelector("dialog[open]") || isText(event.target)) return;
  if (key.startsWith("Arrow") && event.target.closest(".markdown pre, .code")) return; // it scrolls
  if (key === "Enter" && event.target.closest("button, a, summary")) return;
  const act = actOf(key, event);
  if (!act) return;
  event.preventDefault();
  act();
});

/** What to do about a key, or undefined when it means nothing here. What was not looked at yet takes no answer. */
function actOf(key, event) {
  const ifLooked = (act) => () => takes(event) && act();
  const ranked = isRanking() && (charactersAct() || key.length > 1) && rankingAct(key, event);
  if (ranked) return ifLooked(ranked);
  const given = current?.ranks ? undefined : answerOf(event);
  if (given) return ifLooked(() => answer(given));
  if (key === "Enter") return ifLooked(goOn);
  if (key === "Escape") return guidelines && !guidelines.hidden ? toggleGuidelines : undefined;
  const action = charactersAct() && LETTERS[key];
  if (!action) return undefined;
  const act = () => ACTIONS[action](event.target);
  return STORING.includes(action) ? ifLooked(act) : act;
}

document.addEventListener("click", (event) => {
  const control = event.target.closest("[data-do], #answers [name=answer]");
  if (!control) return;
  event.preventDefault();
  const action = control.dataset.do;
  if ((!action || STORING.includes(action)) && !takes(event)) return;
  if (action) ACTIONS[action](control);
  else answer(control.value);
});

form.addEventListener("submit", (event) => event.preventDefault());

// Start

labelKeys(document.getElementById("key-set"));
document.body.classList.add("has-script");
const first = stage.querySelector(".item");
if (first && !unsaved().includes(first.dataset.comparison)) {
  const item = itemOf(first);
  show(item, item.answer ? "reopened" : "open");
} else if (first) {
  advance();
} else {
  showEnd(stage.querySelector("[data-end]"));
}
outbox.flush();
if (guidelines && localStorage.getItem("guidelines-read") !== urls.guidelines) toggleGuidelines();
