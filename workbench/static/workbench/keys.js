// What a key press means, for every page; and which key gives which answer. The annotator chooses one of a few
// sets; the arrows work in all of them. One set has no characters at all: who speaks to the computer, or touches
// keys by accident, would give answers without a wish to.

const OUTCOMES = ["left", "right", "tie", "both_bad", "cannot_judge"];
const SETS = { digits: "12345", "right-hand": "jlkio", "left-hand": "qewxz", none: "" };
const ARROWS = { ArrowLeft: "left", ArrowRight: "right" };
const REMEMBERED = "annotate-keys";

let chosen = localStorage.getItem(REMEMBERED) in SETS ? localStorage.getItem(REMEMBERED) : "digits";

/** Whether keys with a character on them mean anything here. */
export const charactersAct = () => chosen !== "none";

/**
 * The key that was pressed: "1", "j" (CapsLock or not), "?", "=", "Enter", "ArrowLeft", ...; "" for one that no page
 * acts on: a key held down, a shortcut, an input method at work, and the number block while it moves the cursor.
 */
export function keyOf(event) {
  const { key, code } = event;
  if (event.repeat || event.isComposing || isShortcut(event)) return "";
  if (code.startsWith("Numpad")) return /^(\d|Enter)$/.test(key) ? key : "";
  if (/^[a-z]$/i.test(key)) return key.toLowerCase();
  if (/^[\d?=]$/.test(key) || /^[A-Z][A-Za-z\d]+$/.test(key)) return key;
  return placeOf(event);
}

const isShortcut = (event) =>
  event.ctrlKey || event.metaKey || event.altKey || event.getModifierState("AltGraph");

/**
 * By its place, a key that prints something else. Digits: with Shift, on a French keyboard, in other scripts. Letters
 * only where another script's letter is printed: a comma on a Dvorak keyboard is no letter that a button shows.
 */
function placeOf({ key, code, shiftKey }) {
  if (key === "," && code === "Slash" && shiftKey) return "?"; // Cyrillic
  const digit = /^Digit(\d)$/.exec(code)?.[1];
  if (digit) return key === " " ? "" : digit;
  const letter = /^Key([A-Z])$/.exec(code)?.[1];
  return letter && /^[\p{L}\p{M}\p{N}]+$/u.test(key) ? letter.toLowerCase() : "";
}

/**
 * At each key that the page may act on, do what `actOf(key, event)` gives, if anything. Keys in a dialog, a text box, a
 * code block that scrolls, and Enter on a button or link stay what they are.
 */
export function onKey(actOf) {
  document.addEventListener("keydown", (event) => {
    const key = keyOf(event);
    if (!key || document.querySelector("dialog[open]") || isText(event.target)) return;
    if (key.startsWith("Arrow") && event.target.closest(".markdown pre, .code")) return;
    if (key === "Enter" && event.target.closest("button, a, summary")) return;
    const act = actOf(key, event);
    if (!act) return;
    event.preventDefault();
    act();
  });
}

/** The answer that this key press gives ("left", "left:2" with Shift, "tie", ...), or undefined. */
export function answerOf(event) {
  const pressed = keyOf(event);
  const outcome =
    ARROWS[pressed] ?? (pressed.length === 1 ? OUTCOMES[SETS[chosen].indexOf(pressed)] : undefined);
  if (!event.shiftKey || !outcome) return outcome;
  if (outcome === "left" || outcome === "right") return `${outcome}:2`;
  // Shift with 3 is # on most keyboards, and no button shows that; on a French one it is the 3 itself.
  return event.key.toLowerCase() === pressed ? outcome : undefined;
}

// A key held down presses the button that has the focus again and again, whatever has come on screen meanwhile.
document.addEventListener(
  "keydown",
  (event) => {
    const pressing =
      event.key === "Enter" ? !event.target.matches("textarea") : event.key === " " && !isText(event.target);
    if (event.repeat && pressing) event.preventDefault();
  },
  true,
);

/** Whether characters typed here are text. */
export const isText = (target) =>
  target.matches("textarea, select, input:not([type=radio], [type=checkbox])");

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
