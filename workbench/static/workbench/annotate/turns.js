// From one item to the next, and back.

import { inWords } from "../ranking.js";
import { fetchAnswered, fill, isFinal, reasonOf } from "./fetching.js";
import { rankingName } from "./items.js";
import { outbox } from "./outgoing.js";
import { form, isJustAnswered, setState, stage, urls } from "./page.js";
import { queue } from "./queue.js";
import { lastReveal, showLastReveal } from "./reveals.js";
import { display } from "./stage.js";

const LOOK_AGAIN = 15_000;
const WORDS = JSON.parse(urls.words); // of each answer

export const wordsOf = (answer) =>
  answer.startsWith("ranks:")
    ? inWords(answer)
    : WORDS[answer.split(":")[0]] + (answer.endsWith(":2") ? ", much better" : "");

export function show(item, state = "open") {
  display(item, state);
  fill();
}

/** Show what comes next, at once when it is here already. */
export async function advance() {
  if (queue.upcoming.length) return show(queue.upcoming.shift());
  queue.current = null;
  setState("end");
  stage.setAttribute("aria-busy", "true");
  let result = await fill();
  if (!result && !queue.upcoming.length) {
    // The server counts what was on its way as held: what is left it can tell now that it has arrived.
    await outbox.flush();
    result = await fill();
  }
  stage.removeAttribute("aria-busy");
  if (queue.current) return undefined;
  if (queue.upcoming.length) return show(queue.upcoming.shift());
  return showEnd(result);
}

/** The server has nothing, or cannot be reached: say which, and look again before long. */
export function showEnd(result) {
  form.hidden = true;
  const section = result instanceof Element ? result : reasonSection(result);
  // What is looked at again and has not changed keeps its place, and with it the focus of whoever is there.
  if (stage.textContent !== section.textContent) stage.replaceChildren(section);
  if (document.activeElement === document.body) stage.firstElementChild.focus({ preventScroll: true });
  setTimeout(() => queue.current || document.hidden || advance(), isFinal(result) ? LOOK_AGAIN : 700);
}

function reasonSection(error) {
  const section = document.createElement("section");
  section.className = "end";
  section.tabIndex = -1;
  const heading = document.createElement("h2");
  const line = document.createElement("p");
  [heading.textContent, line.textContent] = reasonOf(error);
  section.append(heading, line);
  return section;
}

/** Done with the current item, for now: undo finds it again. */
export function leave() {
  localStorage.removeItem(rankingName(urls.user, queue.current));
  queue.finishCurrent();
  return advance();
}

let undoing = false; // an earlier answer is on its way from the server

export async function undo() {
  if (undoing) return;
  let target = isJustAnswered() ? queue.current : queue.answered.pop();
  if (!target) {
    undoing = true;
    target = await fetchAnswered().finally(() => (undoing = false));
    if (target) queue.goPastAll();
  }
  if (!target) return;
  // Answered while the older one was on its way, it is one to go past, and not one to be handed out again.
  if (queue.current && target !== queue.current)
    queue.putBackCurrent(isJustAnswered() || form.dataset.state === "reopened");
  if (lastReveal()) showLastReveal("");
  reopen(target);
}

export function reopen(item) {
  show(item, item.answer ? "reopened" : "open");
  document.getElementById("was").textContent = item.answer ? wordsOf(item.answer) : "";
}
