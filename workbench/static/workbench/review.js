// Keys of the review page. Everything here presses a button or follows a link that is on the page, so that
// the page does the same without this file, only slower.

import { diff, similarity } from "./diff.js";

const caseOnPage = () => document.getElementById("case");
const others = () => document.getElementById("others");
const form = () => caseOnPage()?.querySelector(".answer");
const opposite = { j: "nextElementSibling", k: "previousElementSibling" };
let busy = false;

function typing(target) {
  return target.matches("textarea, select, input:not([type=radio]):not([type=checkbox])");
}

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
  const reason = radio.name === "reason";
  if (reason && !form().querySelector("[name=outcome]:checked")) return true;
  radio.checked = true;
  radio.dispatchEvent(new Event("change", { bubbles: true }));
  if (reason) settle();
  return true;
}

function settle() {
  if (busy || !form()?.querySelector("[name=outcome]:checked")) return;
  form().requestSubmit();
}

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

function marked(pieces, own) {
  const nodes = document.createDocumentFragment();
  for (const { kind, text } of pieces) {
    if (kind === "same") nodes.append(text);
    else if (kind === own) nodes.append(Object.assign(document.createElement("span"), { className: `only ${own}`, textContent: text }));
  }
  return nodes;
}

function noteOn(pieces) {
  if (!pieces) return "too long to compare";
  return similarity(pieces) < 0.3 ? "little in common" : "";
}

function showTexts() {
  const panes = [...caseOnPage().querySelectorAll("[data-text]")];
  const toggle = caseOnPage().querySelector("[data-diff-toggle]");
  if (!toggle) return;
  toggle.hidden = false;
  const pieces = comparing && diff(...panes.map((pane) => pane.textContent));
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
  v: () => { if (others()) others().open = !others().open; },
  d: () => document.querySelector("[data-diff-toggle]")?.click(),
  n: () => caseOnPage()?.querySelector(".note")?.focus(),
  Enter: settle,
};

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.repeat || busy) return;
  if (event.key === "Escape") return event.target.blur?.();
  if (typing(event.target)) return;
  if (event.key === "Enter" && event.target.closest("a, button, summary")) return;
  if (choose(event.key)) return event.preventDefault();
  if (!commands[event.key]) return;
  event.preventDefault();
  commands[event.key]();
});

document.addEventListener("change", (event) => {
  if (event.target.matches(".answer [name=outcome]")) remember();
});

function markRow() {
  document.querySelectorAll("#rows a[aria-current]").forEach((link) => link.removeAttribute("aria-current"));
  const link = document.getElementById(caseOnPage()?.dataset.row)?.querySelector("a");
  link?.setAttribute("aria-current", "true");
  link?.scrollIntoView({ block: "nearest" });
}

document.addEventListener("htmx:beforeRequest", () => { busy = true; });
document.addEventListener("htmx:afterRequest", () => { busy = false; });
// 409 and 400 carry the case as it is now, with what to do about it.
document.addEventListener("htmx:beforeSwap", (event) => {
  if ([400, 409].includes(event.detail.xhr.status)) {
    event.detail.shouldSwap = true;
    event.detail.isError = false;
  }
});
document.addEventListener("htmx:afterSettle", (event) => {
  if (event.detail.target?.id !== "case") return;
  document.body.classList.add("on-case");
  markRow();
  showTexts();
  caseOnPage().focus({ preventScroll: true });
  window.scrollTo(0, 0);
});
document.addEventListener("htmx:historyRestore", showTexts);
showTexts();
