// The elements and addresses of the annotation page, and what the page tells the annotator.

export const root = document.getElementById("annotate");
export const stage = document.getElementById("stage");
export const form = document.getElementById("answers");
export const comment = form.elements.comment;
export const urls = root.dataset;

const notice = document.getElementById("notice");
const saved = document.getElementById("saved");

const ARCHIVED =
  "This dataset is archived and takes no votes now. Your votes stay in this browser and are sent when an admin restores it.";

/** "open": to be judged; "waiting": judged, the model's word is on its way; "revealed"; "reopened"; "end". */
export function setState(state) {
  form.dataset.state = state;
  if (state === "open" && !notice.hasAttribute("data-stays")) dismissNotice();
}

export const takesAnswer = () => ["open", "reopened"].includes(form.dataset.state);
export const isJustAnswered = () => ["waiting", "revealed"].includes(form.dataset.state);

/** `stays`: until it is dismissed, and not only until the next pair is shown. */
export function notify(sentence, { stays = false } = {}) {
  notice.querySelector("span").textContent = sentence;
  notice.toggleAttribute("data-stays", stays);
  notice.hidden = false;
}

export const notifyArchived = () => notify(ARCHIVED, { stays: true });

export function dismissNotice() {
  notice.hidden = true;
  notice.removeAttribute("data-stays");
}

/** Show the state of the outbox, with so many votes in it. */
export function showSaved(state, votes) {
  saved.dataset.state = state;
  const words = {
    saved: "saved ✓",
    saving: "saving…",
    waiting: `${votes} not saved yet: no connection, trying again`,
    login: `${votes} not saved yet: your login has expired. `,
    archived: `${votes} not saved yet: the dataset is archived, trying again`,
  };
  saved.textContent = words[state];
  if (state === "login") {
    const link = document.createElement("a");
    Object.assign(link, {
      href: `${urls.login}?next=${urls.next.replace(/next\/$/, "")}`,
      target: "_blank",
      textContent: "Log in in a new tab",
    });
    saved.append(link);
  }
  if (state === "archived") notifyArchived();
  if (state === "saved" && notice.querySelector("span").textContent === ARCHIVED) dismissNotice();
}
