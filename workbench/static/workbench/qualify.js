// A pair of a qualification: the keys and views of the annotation page, and the time of the answer. Without this
// script the page is a form that does the same.

import { areGuidelinesOpen, toggleGuidelines } from "./annotate/guidelines.js";
import { itemOf } from "./annotate/items.js";
import { applyView, chooseView, nextView, toggledDiff } from "./annotate/views.js";
import { answerOf, charactersAct, labelKeys, onKey } from "./keys.js";
import { appeared, restartTime, takeSeconds, takes } from "./onscreen.js";

const form = document.getElementById("answers");
const keys = document.getElementById("keys");
const item = itemOf(document.querySelector(".item"));

function setView(name) {
  chooseView(name);
  applyView(item, () => true);
}

function openKeys() {
  keys.showModal();
  appeared();
  keys.querySelector(".primary").focus();
}

const goOn = () => form.querySelector("[data-do=go-on]")?.click();
const answer = (value) => form.querySelector(`[name=answer][value="${value}"]`)?.click();

const ACTIONS = {
  diff: () => setView(toggledDiff()),
  view: () => setView(nextView()),
  guidelines: toggleGuidelines,
  keys: openKeys,
};
const LETTERS = { d: "diff", m: "view", g: "guidelines", "?": "keys" };

onKey(actOf);

/** What to do about a key. What was not looked at yet takes no answer. */
function actOf(key, event) {
  const value = answerOf(event);
  if (value) return () => takes(event) && answer(value);
  if (key === "Enter") return () => takes(event) && goOn();
  if (key === "Escape") return areGuidelinesOpen() ? toggleGuidelines : undefined;
  return charactersAct() ? ACTIONS[LETTERS[key]] : undefined;
}

document.addEventListener("click", (event) => {
  const control = event.target.closest("[data-do]");
  ACTIONS[control?.dataset.do]?.();
});

// Clicks come here too. Once: what is sent again would be the answer to the next pair.
let isSent = false;
form.addEventListener("submit", (event) => {
  if (isSent || !takes(event)) return event.preventDefault();
  isSent = true;
  form.elements.seconds.value = takeSeconds().toFixed(2);
  return undefined;
});
addEventListener("pageshow", () => (isSent = false));
keys.addEventListener("close", appeared);

labelKeys(document.getElementById("key-set"));
document.body.classList.add("has-script");
restartTime();
appeared();
applyView(item, () => true);
item.element.focus({ preventScroll: true });
