// Items from the server, fetched before they are needed, and the leases on those that wait here.

import { post } from "../outbox.js";
import { itemOf, parse } from "./items.js";
import { outbox } from "./outgoing.js";
import { notify, notifyArchived, urls } from "./page.js";
import { queue } from "./queue.js";
import { prepareView } from "./views.js";

const FETCHED_AHEAD = 2;
const ALONG = Number(document.querySelector('[data-do="along"]').dataset.pairs); // that the server holds for one

class LoggedOut extends Error {}
class NotAMember extends Error {}
class Archived extends Error {}

let fetching = null;
let takesAlong = false;
let includesSkipped = new URLSearchParams(location.search).has("again");

export const unsentComparisons = () => outbox.entries().map((entry) => entry.fields.comparison);

export function includeSkipped() {
  includesSkipped = true;
}

/** Fetch until enough items wait here: resolves to null, to the element of the end, or to what went wrong. */
export function fill() {
  fetching ??= fetchAhead().finally(() => (fetching = null));
  return fetching;
}

async function fetchAhead() {
  try {
    while (queue.upcoming.length < (takesAlong ? ALONG : FETCHED_AHEAD)) {
      const element = await fetchNext();
      if (!element || element.matches("[data-end]")) return element;
      const item = itemOf(element);
      queue.upcoming.push(item);
      prepareView(item);
      if (takesAlong) showAlong(`${queue.upcoming.length} of ${ALONG} pairs are here.`);
    }
  } catch (error) {
    if (![LoggedOut, NotAMember, Archived, TypeError].some((kind) => error instanceof kind))
      notify(error.message);
    return error;
  }
  return null;
}

/** Fetch many pairs, to be voted on where there is no connection. */
export async function takeAlong() {
  takesAlong = true;
  let result = await fill();
  // What was being fetched when the button was pressed may have asked for an ordinary pair, and got none.
  if (!result && queue.upcoming.length < ALONG) result = await fill();
  takesAlong = false;
  const here = queue.upcoming.length;
  const pairs = `${here} pair${here === 1 ? " is" : "s are"} here`;
  if (result instanceof Error) showAlong(`${reasonOf(result)[1]} ${pairs}.`);
  else if (here < ALONG) showAlong(`${pairs} for two hours. No more can be taken along now.`);
  else showAlong(`${pairs} for two hours. Keep this page open; votes are sent when you are back.`);
}

function showAlong(sentence) {
  document.getElementById("along").textContent = sentence;
}

async function fetchNext() {
  const fields = { have: [...new Set([...queue.handedOut(), ...unsentComparisons()])].join(",") };
  if (includesSkipped) fields.again = "on";
  if (takesAlong) fields.along = "on";
  const response = await post(urls.next, fields, "text/html");
  // 403: the token of this page belongs to a login that is over.
  if (response.type === "opaqueredirect" || response.status === 403) throw new LoggedOut();
  if (response.status === 404) throw new NotAMember();
  if (response.status === 423) throw new Archived();
  if (response.status === 204) return null;
  if (!response.ok)
    throw new Error(
      `The next pair could not be loaded (error ${response.status}). This page tries again by itself.`,
    );
  return parse(await response.text());
}

/** Whether only an admin or time can bring the next item. */
export const isFinal = (result) => [Element, NotAMember, Archived].some((kind) => result instanceof kind);

/** Why nothing could be fetched, as [heading, sentence]. Without an error, votes are still on their way. */
export function reasonOf(error) {
  const kept = "Your votes stay in this browser and are sent when";
  if (error instanceof NotAMember)
    return [
      "You have no access to this dataset any more",
      "An admin removed you or deleted the dataset. Ask an admin about your access.",
    ];
  if (error instanceof Archived)
    return [
      "This dataset is archived",
      `It takes no votes for now. ${kept} an admin restores it. This page checks again by itself.`,
    ];
  if (error instanceof LoggedOut)
    return [
      "The next pair cannot be loaded now",
      "Your login has expired. Log in again in a new tab; this page then continues by itself.",
    ];
  if (error instanceof Error)
    return [
      "The next pair cannot be loaded now",
      `There is no connection to the server. ${kept} it is back.`,
    ];
  return ["Saving your last votes", "The next pair comes after that."];
}

/** The answered item before those of this page, or null: the page then says why there is none. */
export async function fetchAnswered() {
  await outbox.flush();
  const oldest = queue.oldestJudgment();
  const response = await fetch(`${urls.undo}${oldest ? `?before=${oldest}` : ""}`, {
    headers: { "X-Requested-With": "fetch" },
    redirect: "manual",
  }).catch(() => null);
  if (response?.ok) return itemOf(parse(await response.text()));
  notify(
    response?.status === 404
      ? "You have no earlier vote to reopen."
      : "Your earlier votes cannot be loaded now. Try again.",
  );
  return null;
}

/** Keep the leases on all items here that are not answered, and drop those to come whose lease has run out. */
export async function renewLeases() {
  const comparisons = [queue.current, ...queue.upcoming]
    .filter((item) => item && !item.answer)
    .map((item) => item.comparison);
  if (!comparisons.length) return;
  const response = await post(urls.hold, { have: comparisons.join(",") }).catch(() => null);
  if (response?.status === 423) notifyArchived();
  if (!response?.ok) return;
  const { held, guidelines } = await response.json();
  const isHeld = (item) => item.answer || held.includes(Number(item.comparison));
  queue.upcoming = queue.upcoming.filter(isHeld);
  if (queue.current && !isHeld(queue.current))
    notify("You’ve had this one a while. Answer now; it almost always still counts.");
  if (guidelines && String(guidelines) !== urls.guidelines)
    notify("There are new guidelines: reload the page to read them.", { stays: true });
}
