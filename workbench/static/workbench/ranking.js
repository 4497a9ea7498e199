// Putting three or more completions in order, by keys or by their buttons. Groups are lists of names, the best
// first: [["2"], ["1", "3"]] has 2 above 1 and 3, which are as good as each other.

const ORDINALS = ["1st", "2nd", "3rd", "4th", "5th", "6th", "7th", "8th", "9th"];

/** The names of n completions: "1", "2", ... */
const namesOf = (n) => Array.from({ length: n }, (_, i) => String(i + 1));

const unplaced = (groups, n) => namesOf(n).filter((name) => !groups.flat().includes(name));

/** Put `name` below all others so far, or `level` with the last; one that has its place already gives it up. */
export function place(groups, name, level) {
  if (groups.flat().includes(name)) return without(groups, name);
  if (level && groups.length) return [...groups.slice(0, -1), [...groups.at(-1), name]];
  return [...groups, [name]];
}

export function takeBack(groups) {
  const last = groups.at(-1)?.at(-1);
  return last ? without(groups, last) : groups;
}

function without(groups, name) {
  return groups.map((group) => group.filter((other) => other !== name)).filter((group) => group.length);
}

/** With the one that is left at the end, when only one is: it cannot be anywhere else. */
export function completed(groups, n) {
  const left = unplaced(groups, n);
  return left.length === 1 ? [...groups, left] : groups;
}

export const isComplete = (groups, n) => unplaced(groups, n).length <= 1;

/** "ranks:2,1,2": the rank of each in the order shown, 1 = best. */
export function answerFrom(groups, n) {
  const rank = (name) => {
    const at = groups.findIndex((group) => group.includes(name));
    return 1 + groups.slice(0, at).flat().length;
  };
  return `ranks:${namesOf(n).map(rank).join(",")}`;
}

export function groupsFrom(answer) {
  const ranks = answer.split(":")[1].split(",").map(Number);
  const different = [...new Set(ranks)].sort((higher, lower) => higher - lower);
  return different.map((rank) => namesOf(ranks.length).filter((_, i) => ranks[i] === rank));
}

/** Groups as JSON that was kept while they were made, or null when they are none of n completions. */
export function groupsIn(json, n) {
  const groups = JSON.parse(json ?? "null");
  if (!Array.isArray(groups) || !groups.every((group) => Array.isArray(group) && group.length)) return null;
  const placed = groups.flat();
  return new Set(placed).size === placed.length && placed.every((name) => namesOf(n).includes(name))
    ? groups
    : null;
}

/** "2 > 1 = 3" */
export const inWords = (answer) =>
  groupsFrom(answer)
    .map((group) => group.join(" = "))
    .join(" > ");

/** Show the groups so far: in the bar, and on each completion. */
export function draw(groups, n, panes, bar) {
  const places = bar.querySelector("#places");
  places.replaceChildren(
    ...groups.map((group) => {
      const entry = document.createElement("li");
      entry.textContent = group.join(" = ");
      return entry;
    }),
  );
  for (const pane of panes) {
    const at = groups.findIndex((group) => group.includes(pane.dataset.side));
    pane.toggleAttribute("data-chosen", at >= 0);
    const button = pane.querySelector(".place");
    const word = at < 0 ? "Next" : ORDINALS[groups.slice(0, at).flat().length];
    button.querySelector("span").textContent = word;
    button.setAttribute("aria-pressed", at >= 0);
    button.setAttribute(
      "aria-label",
      `Answer ${pane.dataset.side}: ${at < 0 ? "put next" : `${word}, remove`}`,
    );
  }
  const left = unplaced(groups, n);
  bar.querySelector("[data-do=rank]").disabled = left.length > 1;
  bar.querySelector("[data-do=unplace]").disabled = !groups.length;
  bar.querySelector("[data-do=level]").disabled = !groups.length || !left.length;
  bar.querySelector("#ranking-said").textContent = hintOf(groups, left);
}

function hintOf(groups, left) {
  if (!groups.length) return "Choose the best answer first, then the next best.";
  if (left.length > 1) return `${left.join(", ")} to go`;
  return left.length ? `${left[0]} comes last` : "";
}
