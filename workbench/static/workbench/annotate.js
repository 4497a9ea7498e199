// The annotation page at speed: the next pairs are fetched ahead, answers are sent in the background, and
// everything has a key. Without this script the page is a form that does the same, one request at a time.
// Here are the keys, the buttons and the start; the modules in annotate/ are what they act on.

import { answer, change, confirmSuggestion, goOn, keep, skip } from "./annotate/answers.js";
import { haveNewGuidelines, openFlag, openKeys, readGuidelines } from "./annotate/dialogs.js";
import { includeSkipped, renewLeases, takeAlong, unsentComparisons } from "./annotate/fetching.js";
import { areGuidelinesOpen } from "./annotate/guidelines.js";
import { itemOf } from "./annotate/items.js";
import { outbox } from "./annotate/outgoing.js";
import { dismissNotice, form, stage, urls } from "./annotate/page.js";
import { queue } from "./annotate/queue.js";
import { isRanking, place, rankingAct, submitRanking, toggleLevel, unplace } from "./annotate/ranks.js";
import { openComment, setView } from "./annotate/stage.js";
import { advance, show, showEnd, undo } from "./annotate/turns.js";
import { nextView, toggledDiff } from "./annotate/views.js";
import { answerOf, charactersAct, labelKeys, onKey } from "./keys.js";
import { takes } from "./onscreen.js";

const ACTIONS = {
  comment: openComment,
  flag: openFlag,
  skip,
  undo,
  diff: () => queue.current?.ranks || setView(toggledDiff()),
  place: (button) => place(button.value),
  level: toggleLevel,
  unplace,
  rank: () => submitRanking(answer),
  view: () => setView(nextView()),
  guidelines: readGuidelines,
  keys: openKeys,
  confirm: confirmSuggestion,
  keep,
  change,
  along: takeAlong,
  dismiss: dismissNotice,
  "go-on": goOn,
  again: () => {
    includeSkipped();
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

onKey(actOf);

/** What to do about a key, or undefined when it means nothing here. What was not looked at yet takes no answer. */
function actOf(key, event) {
  const ifLooked = (act) => () => takes(event) && act();
  const rankingKey = isRanking() && (charactersAct() || key.length > 1) && rankingAct(key, event, answer);
  if (rankingKey) return ifLooked(rankingKey);
  const value = queue.current?.ranks ? undefined : answerOf(event);
  if (value) return ifLooked(() => answer(value));
  if (key === "Enter") return ifLooked(goOn);
  if (key === "Escape") return areGuidelinesOpen() ? readGuidelines : undefined;
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

document.addEventListener("visibilitychange", () => {
  if (!document.hidden && !queue.current) advance();
  if (!document.hidden) renewLeases();
});

setInterval(() => document.hidden || renewLeases(), Number(urls.holdSeconds) * 1000);

// Start

labelKeys(document.getElementById("key-set"));
document.body.classList.add("has-script");
const first = stage.querySelector(".item");
if (first && !unsentComparisons().includes(first.dataset.comparison)) {
  const item = itemOf(first);
  show(item, item.answer ? "reopened" : "open");
} else if (first) {
  advance();
} else {
  showEnd(stage.querySelector("[data-end]"));
}
outbox.flush();
if (haveNewGuidelines()) readGuidelines();
