// Toasts leave by themselves, but for those that can be undone or that say what went wrong.
const SHOWN_MS = 5000;
const MS_A_CHARACTER = 60;

const list = document.getElementById("toasts");

function leavesByItself(toast) {
  return !toast.querySelector("form") && !toast.matches(".warning, .error");
}

function leaveLater(toast) {
  const wait = () => setTimeout(() => toast.remove(), SHOWN_MS + MS_A_CHARACTER * toast.textContent.length);
  let timer = wait();
  const stay = () => clearTimeout(timer);
  const go = () => {
    stay();
    timer = wait();
  };
  toast.addEventListener("pointerenter", stay);
  toast.addEventListener("pointerleave", go);
  toast.addEventListener("focusin", stay);
  toast.addEventListener("focusout", go);
}

new MutationObserver((changes) => {
  const added = changes.flatMap((change) => [...change.addedNodes]);
  for (const toast of added) if (toast instanceof HTMLElement && leavesByItself(toast)) leaveLater(toast);
}).observe(list, { childList: true });

list.addEventListener("click", (event) => {
  if (event.target.closest("[data-dismiss]")) event.target.closest(".toast").remove();
});

// Screen readers read what comes into the list, and not what was there when the page came.
list.append(...list.children);
