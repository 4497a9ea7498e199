// The ranking on screen: what its keys and buttons do to it.

import * as ranking from "../ranking.js";
import { rankingName } from "./items.js";
import { form, stage, takesAnswer, urls } from "./page.js";
import { queue } from "./queue.js";

let isLevel = false; // the next answer is as good as the last

export function startRanking(item) {
  const stored = ranking.groupsIn(localStorage.getItem(rankingName(urls.user, item)), item.ranks);
  showGroups(stored ?? (item.answer?.startsWith("ranks:") ? ranking.groupsFrom(item.answer) : []));
}

function showGroups(groups) {
  queue.current.groups = groups;
  setLevel(false);
  ranking.draw(groups, queue.current.ranks, stage.querySelectorAll(".pane"), form.querySelector(".ranking"));
}

/** As `showGroups`, and a reload finds them again. */
function keepGroups(groups) {
  showGroups(groups);
  localStorage.setItem(rankingName(urls.user, queue.current), JSON.stringify(groups));
}

function setLevel(isOn) {
  isLevel = isOn;
  form.querySelector("[data-do=level]").setAttribute("aria-pressed", isOn);
}

export const toggleLevel = () => setLevel(!isLevel);

export const isRanking = () => Boolean(queue.current?.ranks) && takesAnswer();

export function place(name, asGood = isLevel) {
  if (isRanking() && Number(name) >= 1 && Number(name) <= queue.current.ranks)
    keepGroups(ranking.place(queue.current.groups, name, asGood));
}

export function unplace() {
  if (isRanking()) keepGroups(ranking.takeBack(queue.current.groups));
}

/** Give the ranking to `answer` once all answers but one have their place: the last one comes last. */
export function submitRanking(answer) {
  const item = queue.current;
  if (!isRanking() || !ranking.isComplete(item.groups, item.ranks)) return;
  showGroups(ranking.completed(item.groups, item.ranks));
  answer(ranking.answerFrom(item.groups, item.ranks));
}

/** What this key does in a ranking, or undefined when it is none of its keys. */
export function rankingAct(key, event, answer) {
  const { groups, ranks } = queue.current;
  if (/^[1-9]$/.test(key)) return () => place(key, event.shiftKey || isLevel);
  const acts = {
    "=": () => setLevel(!isLevel && groups.length > 0),
    Backspace: unplace,
    b: () => answer("both_bad"),
    n: () => answer("cannot_judge"),
  };
  if (key === "Enter" && groups.length && ranking.isComplete(groups, ranks))
    return () => submitRanking(answer);
  return acts[key];
}
