// How long somebody has had a look: what has just come on screen takes no answer, and time counts only while
// somebody can be reading. The one place that knows both; pages ask it, and no server could know.

/** Milliseconds. What was on screen for less has been read by nobody: the key or click was meant for another. */
export const LOOK = 300;

let turn = 0;
let painted = null; // when what is on screen now was painted, or null before that
let ready = false;
let timer;

/** Something else is on screen from the next paint on. Hidden pages have no frames, so they are never looked at. */
export function appeared() {
  const thisTurn = (turn += 1);
  [painted, ready] = [null, false];
  clearTimeout(timer);
  // The second frame begins once the first has been drawn.
  requestAnimationFrame(() =>
    requestAnimationFrame(() => {
      if (thisTurn !== turn) return;
      painted = performance.now();
      timer = setTimeout(() => (ready = true), LOOK);
      tally();
    }),
  );
}

/** Whether what is on screen had been there long enough when this key or button was pressed. */
export function takes(event) {
  if (event.repeat || !ready) return false;
  // By when it happened: while the page was busy, events have waited.
  if (isEarly(event.timeStamp)) return false;
  if (!event.isTrusted || !event.detail) return true;
  // A click began when the button went down, and a double click belongs to what its first click was on.
  return !isEarly(pressedAt) && (event.detail === 1 || clickedAt >= painted);
}

// A clock that was set back since tells nothing.
const isEarly = (at) => at - painted < LOOK && performance.now() >= painted;

let pressedAt = 0;
let clickedAt = 0; // the first click of those that make a double click
addEventListener("pointerdown", (event) => (pressedAt = event.timeStamp), true);
addEventListener("click", (event) => event.detail === 1 && (clickedAt = event.timeStamp), true);

// Attention

let attended = 0;
let from = null; // since when somebody has been looking, or null while nobody is
let focused = document.hasFocus();

function tally() {
  const now = performance.now();
  if (from !== null) attended += Math.max(0, now - from);
  from = painted !== null && focused && !document.hidden ? now : null;
}

/** Begin to count anew, from the next paint on. */
export function restartTime() {
  attended = 0;
  from = null;
}

/** Seconds since `restartTime` or the last call in which the page was visible and had the focus. Each second is
 * given once: a change after the reveal is worked for beyond the first vote, not again. */
export function takeSeconds() {
  tally();
  const seconds = attended / 1000;
  attended = 0;
  return seconds;
}

function focusIs(on) {
  focused = on;
  tally();
}
addEventListener("focus", () => focusIs(true));
addEventListener("blur", () => focusIs(false));
document.addEventListener("visibilitychange", () => {
  tally();
  if (!document.hidden) appeared();
});
