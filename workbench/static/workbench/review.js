// Keys of the review page. Everything here presses a button or follows a link that is on the page, so that
// the page does the same without this file, only slower. The key of a choice or a reason only selects, as the mouse
// does: Enter settles. What comes while a case is loading, or before anybody can have looked at it, is dropped: it was
// meant for the case before.

import { diff, similarity } from "./diff.js";
import { isText, keyOf } from "./keys.js";
import { appeared, takes } from "./onscreen.js";

const caseOnPage = () => document.getElementById("case");
const others = () => document.getElementById("others");
const form = () => caseOnPage()?.querySelector(".answer");
const opposite = { j: "nextElementSibling", k: "previousElementSibling" };
let loading = false; // another case, or an answer to this one, is on its way

const isDropped = (event) => loading || !takes(event);

// What the reviewer said before the votes were open goes along; once they were open, nothing does.
function remember() {
  const answer = form();
  const chosen = answer?.querySelector("[name=outcome]:checked");
  if (!chosen || others().open) return;
  answer.elements.blind_outcome.value = chosen.value;
  others().open = true;
}

function choose(key) {
  const radio = form()?.querySelector(`[data-key="${key}"]`);
  if (!radio) return false;
  radio.checked = true;
  radio.dispatchEvent(new Event("change", { bubbles: true }));
  return true;
}

const settle = () => form()?.requestSubmit();

// The note

const note = () => form()?.elements.note;
const noteQuestion = () => form()?.querySelector("[name=reason]:checked")?.dataset.asks ?? "";

/** Some reasons are of no use to anybody without a word: they open the note. */
function openNote() {
  form().classList.toggle("note-asked", Boolean(noteQuestion()));
  note().placeholder = noteQuestion() || "Note (n)";
  note().required = Boolean(noteQuestion());
  if (noteQuestion()) note().focus();
}

/** What this answer lacks as [sentence, where to mend it], or null. The server says the same. */
function lacking() {
  if (!form().querySelector("[name=outcome]:checked"))
    return ["Choose one of the five options. Nothing was saved.", null];
  return noteQuestion() && !note().value.trim() ? [noteQuestion(), note()] : null;
}

function tell(sentence) {
  form()
    ?.querySelectorAll(".error")
    .forEach((line) => line.remove());
  if (!sentence) return;
  const line = Object.assign(document.createElement("p"), {
    className: "error",
    role: "alert",
    textContent: sentence,
  });
  form()?.prepend(line);
}

const draftName = (answer) =>
  `note:${document.querySelector(".desk").dataset.user}:${answer.elements.comparison.value}`;

function showDraft() {
  const answer = form();
  if (!answer) return;
  answer.noValidate = true; // what is lacking is told here, in the words of the server
  note().value ||= sessionStorage.getItem(draftName(answer)) ?? "";
}

document.addEventListener("input", (event) => {
  if (!event.target.matches("#case .note")) return;
  sessionStorage.setItem(draftName(event.target.form), event.target.value);
  tell("");
});

function step(direction) {
  const row = document.getElementById(caseOnPage()?.dataset.row);
  let next = row ? row[opposite[direction]] : document.querySelector("#rows .line");
  while (next?.matches(".settled")) next = next[opposite[direction]];
  if (next?.id === "more") next.querySelector("a")?.click();
  else next?.querySelector("a")?.click();
}

// The diff stays on from case to case; the texts come back as the server wrote them.
let comparing = false;
const written = new WeakMap();

function marked(pieces, side) {
  const nodes = document.createDocumentFragment();
  for (const { kind, text } of pieces) {
    if (kind === "same") nodes.append(text);
    else if (kind === side)
      nodes.append(
        Object.assign(document.createElement("span"), { className: `only ${side}`, textContent: text }),
      );
  }
  return nodes;
}

function noteOn(pieces) {
  if (!pieces) return "too long and too different to compare";
  return similarity(pieces) < 0.3 ? "little in common" : "";
}

function showTexts() {
  const panes = [...caseOnPage().querySelectorAll("[data-text]")];
  const toggle = caseOnPage().querySelector("[data-diff-toggle]");
  if (!toggle) return;
  toggle.hidden = false;
  const pieces = comparing && diff(...panes.map((pane) => pane.dataset.reads ?? pane.textContent));
  toggle.setAttribute("aria-pressed", Boolean(pieces));
  caseOnPage().querySelector("[data-diff-note]").textContent = comparing ? noteOn(pieces) : "";
  panes.forEach((pane, index) => {
    if (!written.has(pane)) written.set(pane, [...pane.childNodes]);
    pane.replaceChildren(...(pieces ? [marked(pieces, ["left", "right"][index])] : written.get(pane)));
  });
}

document.addEventListener("click", (event) => {
  if (!event.target.closest("[data-diff-toggle]")) return;
  comparing = !comparing;
  showTexts();
});

const commands = {
  j: () => step("j"),
  k: () => step("k"),
  u: () => document.querySelector("[data-undo]")?.click(),
  v: () => {
    if (others()) others().open = !others().open;
  },
  d: () => document.querySelector("[data-diff-toggle]")?.click(),
  n: () => note()?.focus(),
  Enter: settle,
};

document.addEventListener("keydown", (event) => {
  const isElsewhere = isText(event.target) && !caseOnPage().contains(event.target);
  if (isDropped(event) && !isElsewhere) return drop(event);
  if (event.key === "Escape") return event.target.blur?.();
  if (event.key === "Enter" && event.ctrlKey && caseOnPage().contains(event.target))
    return event.target.closest(".questions") ? event.target.form?.requestSubmit() : settle();
  const key = keyOf(event);
  if (isText(event.target)) return undefined; // Enter there sends the form, as in any form
  if (key === "Enter" && event.target.closest("a, button, summary")) return undefined;
  if (!key || (!commands[key] && !choose(key))) return undefined;
  event.preventDefault();
  return commands[key]?.();
});

/** Characters and what acts: the page may still be scrolled, and left by Tab and by the browser's own keys. */
function drop(event) {
  const acts = event.key.length === 1 || ["Enter", "Backspace", "Delete"].includes(event.key);
  if (acts && !event.ctrlKey && !event.metaKey && !event.altKey) event.preventDefault();
}

function stop(event) {
  event.preventDefault();
  event.stopImmediatePropagation();
}

// Before anybody else hears of it: a form is sent by its button, by Enter in it, and by the key above.
document.addEventListener(
  "click",
  (event) => event.target.closest("#case .answer") && isDropped(event) && stop(event),
  true,
);
document.addEventListener(
  "submit",
  (event) => {
    if (!event.target.matches("#case .answer")) return;
    if (isDropped(event)) return stop(event);
    const [sentence, where] = lacking() ?? ["", null];
    tell(sentence);
    if (!sentence) return;
    stop(event);
    where?.focus();
  },
  true,
);

document.addEventListener("change", (event) => {
  if (event.target.matches(".answer [name=outcome]")) remember();
  if (event.target.matches(".answer [name=reason]")) openNote();
});

function markRow() {
  document.querySelectorAll("#rows a[aria-current]").forEach((link) => link.removeAttribute("aria-current"));
  const link = document.getElementById(caseOnPage()?.dataset.row)?.querySelector("a");
  link?.setAttribute("aria-current", "true");
  link?.scrollIntoView({ block: "nearest" });
}

const isForCase = (event) => event.detail.target?.id === "case";

// One at a time: the answer to the first would take away what the second has put here.
document.addEventListener("htmx:beforeRequest", (event) => {
  if (!isForCase(event)) return;
  if (loading) return event.preventDefault();
  loading = true;
  if (note()) note().readOnly = true;
});
document.addEventListener("htmx:afterRequest", (event) => {
  if (!isForCase(event)) return;
  loading = false;
  if (note()) note().readOnly = false;
  // By now the form is gone, and `elt` is what stands in its place.
  const { requestConfig, xhr } = event.detail;
  const sender = requestConfig.elt;
  if (sender.matches(".answer") && xhr.getResponseHeader("HX-Push-Url"))
    sessionStorage.removeItem(draftName(sender));
});
document.addEventListener("htmx:sendError", () =>
  tell("Nothing was saved: there is no connection. Try again when it is back."),
);
document.addEventListener("htmx:responseError", (event) =>
  tell(`Nothing was saved: the server reported error ${event.detail.xhr.status}. Try again.`),
);
document.addEventListener("htmx:beforeSwap", (event) => {
  const { xhr, requestConfig } = event.detail;
  // 409 and 400 carry the case as it is now, with what to do about it.
  if ([400, 409].includes(xhr.status)) {
    event.detail.shouldSwap = true;
    event.detail.isError = false;
  } else if (
    caseOnPage()?.contains(event.detail.target) &&
    new URL(xhr.responseURL).pathname !== new URL(requestConfig.path, location).pathname
  ) {
    event.detail.shouldSwap = false; // a login page is no case
    tell("Nothing was saved: your login has expired. Log in in a new tab, then settle again.");
  }
});
// At once: htmx settles 20 ms later, and until then a key would act on a case that nobody has looked at.
document.addEventListener("htmx:afterSwap", (event) => isForCase(event) && appeared());
document.addEventListener("htmx:afterSettle", (event) => {
  if (!isForCase(event)) return;
  document.body.classList.add("on-case");
  isShown();
  markRow();
  caseOnPage().focus({ preventScroll: true });
  if (form()?.querySelector(".error") && noteQuestion()) openNote();
  window.scrollTo(0, 0);
});

function isShown() {
  appeared();
  showTexts();
  showDraft();
}

// Going back asks the server as well.
document.addEventListener("htmx:historyCacheMiss", () => (loading = true));
for (const name of ["htmx:historyCacheMissLoad", "htmx:historyCacheMissLoadError"])
  document.addEventListener(name, () => (loading = false));
document.addEventListener("htmx:historyRestore", isShown);
isShown();
