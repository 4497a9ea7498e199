// What the model said: of the pair on screen, once it is answered, and in a line above the next pair.

import { appeared } from "../onscreen.js";
import { root, setState } from "./page.js";

export const lastReveal = () => document.querySelector(".last-reveal");

export function showReveal(html) {
  const reveal = document.getElementById("reveal");
  reveal.innerHTML = html;
  setState("revealed");
  appeared();
  reveal.querySelector(".verdict").id = "verdict";
  const goOnButton = reveal.querySelector(".primary");
  goOnButton.setAttribute("aria-describedby", "verdict"); // so that a screen reader says it with the focus
  goOnButton.focus({ preventScroll: true });
}

/** The line about the last pair. It keeps its place while it is empty, so that the texts do not move. */
export function showLastReveal(html) {
  const line = lastReveal() ?? document.createElement("div");
  line.className = "last-reveal";
  line.innerHTML =
    html &&
    `<span>Last pair</span>${html}<button type="button" class="quiet" data-do="undo">Undo <kbd>u</kbd></button>`;
  root.prepend(line);
}
