// The guidelines beside a pair: on the annotation page and in a qualification.

const guidelines = document.getElementById("guidelines");

export const haveGuidelines = Boolean(guidelines);
export const areGuidelinesOpen = () => haveGuidelines && !guidelines.hidden;

/** Show or hide the guidelines, where there are any. */
export function toggleGuidelines() {
  if (!haveGuidelines) return;
  guidelines.hidden = !guidelines.hidden;
  document.body.classList.toggle("beside-guidelines", !guidelines.hidden);
  document.querySelector(".topbar [data-do=guidelines]").setAttribute("aria-expanded", !guidelines.hidden);
}
