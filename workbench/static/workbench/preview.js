// While columns are being named nothing is looked at anew, or the answer would take the place of the next
// field that somebody writes in. There is a button for it.

document.addEventListener(
  "change",
  (event) => {
    if (event.target.closest(".named")) event.stopPropagation();
  },
  true,
);
