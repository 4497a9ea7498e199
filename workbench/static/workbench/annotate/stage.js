// What is on screen: one item, its folds and switches, the view of its texts, and the comment on it.

import { appeared, restartTime } from "../onscreen.js";
import { draftName } from "./items.js";
import { comment, form, setState, stage, takesAnswer, urls } from "./page.js";
import { queue } from "./queue.js";
import { startRanking } from "./ranks.js";
import { applyView, chooseView } from "./views.js";

const FOLD_PROMPT = 1500;

/** Put an item on screen. `state` is "open", or "reopened" where it has an answer already. */
export function display(item, state) {
  queue.current = item;
  restartTime();
  appeared();
  stage.replaceChildren(item.element);
  form.hidden = false;
  form.elements.comparison.value = item.comparison;
  form.elements.claim.value = item.claim;
  comment.value = localStorage.getItem(draftName(urls.user, item)) ?? item.comment ?? "";
  toggleComment(comment.value !== "");
  document.getElementById("reveal").replaceChildren();
  form.dataset.kind = item.ranks ? "ranking" : "pair";
  setState(state);
  markAnswer(item.answer);
  if (item.ranks) startRanking(item);
  foldPrompt(item);
  watchSides(item);
  showView();
  scrollTo(0, 0);
  item.element.focus({ preventScroll: true });
}

export function markAnswer(answer) {
  const [side] = (answer ?? "").split(":");
  for (const button of form.querySelectorAll("[name=answer]:not([data-do])")) {
    button.setAttribute("aria-pressed", button.value === answer);
  }
  for (const pane of stage.querySelectorAll(".panes:not(.many) .pane")) {
    pane.toggleAttribute("data-chosen", pane.dataset.side === side);
  }
}

function foldPrompt({ element }) {
  const turn = element.querySelector(".turn.last");
  if (turn.querySelector(".unfold") || turn.textContent.length < FOLD_PROMPT) return;
  const button = document.createElement("button");
  button.type = "button";
  button.className = "quiet unfold";
  button.textContent = "Show full prompt";
  button.addEventListener("click", () => {
    const isFolded = turn.classList.toggle("folded");
    button.textContent = isFolded ? "Show full prompt" : "Fold prompt";
  });
  turn.classList.add("folded");
  turn.append(button);
}

/** On a narrow screen the sides are one below the other: the switch tells which of them is being read. */
function watchSides({ element }) {
  const observer = new IntersectionObserver(
    (entries) => {
      for (const { target, isIntersecting } of entries) {
        element
          .querySelector(`.sides [href="#${target.id}"]`)
          .toggleAttribute("data-in-view", isIntersecting);
      }
    },
    { rootMargin: "-25% 0px -50% 0px" },
  );
  element.querySelectorAll(".pane").forEach((pane) => observer.observe(pane));
}

export function setView(name) {
  chooseView(name);
  if (queue.current) showView();
}

function showView() {
  const item = queue.current;
  applyView(item, () => item === queue.current);
}

// The comment

function toggleComment(isOpen) {
  comment.closest(".comment").classList.toggle("open", isOpen);
  form.querySelector("[data-do=comment]").setAttribute("aria-expanded", isOpen);
}

export function openComment() {
  // Where the next one may come by itself, what is being written would end on it.
  if (!queue.current || !takesAnswer()) return;
  toggleComment(true);
  comment.focus({ preventScroll: true });
}

comment.addEventListener(
  "input",
  () => queue.current && localStorage.setItem(draftName(urls.user, queue.current), comment.value),
);
comment.addEventListener("keydown", (event) => {
  if (event.key !== "Escape") return;
  toggleComment(comment.value !== "");
  queue.current?.element.focus({ preventScroll: true });
});
