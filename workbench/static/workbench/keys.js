// Which key gives which answer. The annotator chooses one of a few sets; the arrows work in all of them. One set has
// no characters at all: who speaks to the computer, or touches keys by accident, would give answers without a wish to.

const OUTCOMES = ["left", "right", "tie", "both_bad", "cannot_judge"];
const SETS = { digits: "12345", "right-hand": "jlkio", "left-hand": "qewxz", none: "" };
const ARROWS = { ArrowLeft: "left", ArrowRight: "right" };
const REMEMBERED = "annotate-keys";

let chosen = localStorage.getItem(REMEMBERED) in SETS ? localStorage.getItem(REMEMBERED) : "digits";

/** Whether keys with a character on them mean anything here. */
export const charactersAct = () => chosen !== "none";

/** The answer that this key press gives ("left", "left:2" with Shift, "tie", ...), or undefined. */
export function answerOf(event) {
  const outcome = ARROWS[event.key] ?? OUTCOMES[SETS[chosen].indexOf(printed(event))];
  const sided = outcome === "left" || outcome === "right";
  return event.shiftKey && sided ? `${outcome}:2` : outcome;
}

/** Digits by their position: with Shift they print something else, and on a French keyboard without it. */
function printed(event) {
  return /^(?:Digit|Numpad)(\d)$/.exec(event.code)?.[1] ?? (event.key.length === 1 ? event.key.toLowerCase() : "none");
}

/** Write the keys of the chosen set on everything that names one, and let the select choose another. */
export function labelKeys(select) {
  const label = () => {
    document.body.classList.toggle("no-characters", !charactersAct());
    for (const kbd of document.querySelectorAll("kbd[data-key]")) {
      const key = SETS[chosen][OUTCOMES.indexOf(kbd.dataset.key)] ?? "";
      kbd.textContent = (kbd.hasAttribute("data-shift") ? "⇧" : "") + key.toUpperCase();
    }
  };
  select.value = chosen;
  select.addEventListener("change", () => {
    chosen = select.value;
    localStorage.setItem(REMEMBERED, chosen);
    label();
  });
  label();
}
