// One pair, or one ranking, as the server hands it out.

/** An item is its element, the server's word on it, and what was decided here: `answer` ("left:2") under `key`. */
export function itemOf(element) {
  const { comparison, claim, key, suggested, supersedes, judgment, answer, comment } = element.dataset;
  const ranks = Number(element.dataset.ranks ?? 0); // how many there are to rank, 0 for two to compare
  const hasReveal = "hasReveal" in element.dataset; // something to wait for after the answer
  return {
    element,
    comparison,
    claim,
    key,
    hasReveal,
    suggested,
    supersedes,
    judgment,
    answer,
    comment,
    ranks,
    groups: [],
  };
}

/** The element of an item, or of the end of the queue, in a reply of the server. */
export function parse(html) {
  const template = document.createElement("template");
  template.innerHTML = html;
  return template.content.querySelector(".item, [data-end]");
}

/** The names in localStorage of a comment and of a ranking that are not sent yet. */
export const draftName = (user, item) => `draft:${user}:${item.claim}`;
export const rankingName = (user, item) => `ranking:${user}:${item.claim}`;
