// The dialogs over the page, keys and flag, and the guidelines beside it.

import { keyOf } from "../keys.js";
import { appeared, takes } from "../onscreen.js";
import { areGuidelinesOpen, haveGuidelines, toggleGuidelines } from "./guidelines.js";
import { outbox } from "./outgoing.js";
import { urls } from "./page.js";
import { queue } from "./queue.js";

const flagDialog = document.getElementById("flag");
const keysDialog = document.getElementById("keys");
const GUIDELINES_READ = "guidelines-read";

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

export function openKeys() {
  openDialog(keysDialog);
  // Not by autofocus: the browser would want to give it the focus when the page opens.
  keysDialog.querySelector(".primary").focus();
  keysDialog.scrollTop = 0; // where it is longer than a phone, to begin with the first key
}

// The flag

let flaggedItem = null; // what the dialog is about: the one behind it may have gone by itself

export function openFlag() {
  if (!queue.current) return;
  flaggedItem = queue.current;
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
  const { comparison, element } = flaggedItem;
  outbox.add(urls.flag, { user: urls.user, comparison, reason, note });
  const mark = element.querySelector(".flag-mark") ?? document.createElement("p");
  mark.className = "flag-mark";
  mark.textContent = `Flagged: ${flagDialog.querySelector(`[value=${reason}]`).dataset.label}`;
  element.prepend(mark);
});

// The guidelines

/** Show or hide the guidelines. Whoever has seen this version is not shown it unasked again. */
export function readGuidelines() {
  toggleGuidelines();
  if (areGuidelinesOpen()) localStorage.setItem(GUIDELINES_READ, urls.guidelines);
}

export const haveNewGuidelines = () =>
  haveGuidelines && localStorage.getItem(GUIDELINES_READ) !== urls.guidelines;
