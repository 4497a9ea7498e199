// What the annotator decides about the item on screen, and what the server says to it.

import { takeSeconds } from "../onscreen.js";
import { newKey, post } from "../outbox.js";
import { draftName, rankingName } from "./items.js";
import { outbox } from "./outgoing.js";
import { comment, form, notify, setState, showSaved, takesAnswer, urls } from "./page.js";
import { queue } from "./queue.js";
import { lastReveal, showLastReveal, showReveal } from "./reveals.js";
import { markAnswer } from "./stage.js";
import { leave, reopen, wordsOf } from "./turns.js";

const PATIENCE = 1500; // milliseconds to wait for what the model says before the next one is shown anyway

const straightOn = document.getElementById("straight-on");

function send(item, answer) {
  const fields = {
    user: urls.user,
    comparison: item.comparison,
    claim: item.claim,
    key: item.key,
    answer,
    supersedes: item.supersedes ?? "",
    guidelines: urls.guidelines,
    seconds: takeSeconds().toFixed(2),
    comment: comment.value,
  };
  localStorage.removeItem(draftName(urls.user, item));
  localStorage.removeItem(rankingName(urls.user, item));
  outbox.add(urls.judge, fields);
  // Whatever changes this answer later names it by its key.
  Object.assign(item, { answer, comment: comment.value, supersedes: item.key, key: newKey() });
}

export function answer(value) {
  const item = queue.current;
  if (!item || !takesAnswer()) return undefined;
  const isFirst = !item.supersedes;
  if (!isFirst && value === item.answer && comment.value === (item.comment ?? "")) return goOn();
  send(item, value);
  markAnswer(value);
  if (isFirst) addToCounts((item.ranks * (item.ranks - 1)) / 2 || 1);
  if (straightOn.checked && (item.hasReveal || lastReveal())) showLastReveal("");
  else lastReveal()?.remove();
  if (!isFirst || !item.hasReveal || straightOn.checked) return leave();
  setState("waiting");
  setTimeout(() => item === queue.current && form.dataset.state === "waiting" && leave(), PATIENCE);
  return undefined;
}

/** A ranking counts as the pairs that it implies. */
function addToCounts(votes) {
  for (const count of ["today", "hour"].map((id) => document.getElementById(id))) {
    count.textContent = (Number(count.textContent.replace(/\D/g, "")) + votes).toLocaleString("en");
  }
}

export function confirmSuggestion() {
  if (form.dataset.state === "open" && queue.current?.suggested) answer(queue.current.suggested);
}

/** Keep the answer in view of what the model said. It is stored as such where the two differ. */
export function keep() {
  if (queue.current.differs) send(queue.current, queue.current.answer);
  leave();
}

export function change() {
  const item = queue.current;
  if (form.dataset.state !== "revealed" || !item.differs) return;
  send(item, item.modelAnswer);
  markAnswer(item.modelAnswer);
  leave();
}

export function goOn() {
  const { state } = form.dataset;
  if (state === "revealed") return keep();
  if (state === "waiting" || state === "reopened") return leave();
  return undefined;
}

export function skip() {
  const item = queue.current;
  if (!item || form.dataset.state === "revealed") return undefined;
  if (form.dataset.state === "reopened" && item.answer) return goOn();
  outbox.add(urls.skip, { user: urls.user, comparison: item.comparison, claim: item.claim });
  return leave();
}

straightOn.addEventListener("change", async () => {
  if (!straightOn.checked) lastReveal()?.remove();
  const response = await post(urls.straightOn, straightOn.checked ? { straight_on: "on" } : {}).catch(
    () => null,
  );
  if (!response?.ok)
    notify("Your choice to go straight on was not saved. Choose again when you are connected.", {
      stays: true,
    });
});

// Replies

outbox.listener = {
  state(state, votes) {
    showSaved(state, votes);
    if (form.dataset.state === "waiting" && ["waiting", "login", "archived"].includes(state)) leave();
  },

  reply(entry, reply) {
    const item = queue.answeredUnder(entry.id);
    if (item && reply.judgment) item.judgment = reply.judgment;
    const isWaiting = item && item === queue.current && form.dataset.state === "waiting";
    if (!reply.reveal) {
      if (isWaiting) leave();
      return;
    }
    if (!item) return;
    Object.assign(item, { modelAnswer: reply.suggested, differs: reply.differs });
    if (isWaiting) showReveal(reply.reveal);
    else if (item === queue.answered.at(-1)) showLastReveal(reply.reveal);
  },

  refused(entry, sentence, { stored }) {
    const lost = entry.fields.answer ? `Your vote “${wordsOf(entry.fields.answer)}” was not saved. ` : "";
    const item = stored && queue.answeredUnder(entry.id);
    if (item) replaceAnswer(item, stored);
    notify(lost + sentence, { stays: true });
    if (form.dataset.state === "waiting") leave();
  },
};

/** Another window has answered: this is what undo shows next, and what the next answer supersedes. */
function replaceAnswer(item, storedAnswer) {
  Object.assign(item, storedAnswer);
  if (item !== queue.current) queue.makeNewest(item);
  else if (form.dataset.state === "reopened") reopen(item);
}
