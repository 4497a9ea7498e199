// Loaded before the first paint, so that a remembered theme does not flash the other one.
const remembered = localStorage.getItem("theme");
if (remembered) document.documentElement.dataset.theme = remembered;

document.addEventListener("click", (event) => {
  if (!event.target.closest("[data-theme-toggle]")) return;
  const dark = getComputedStyle(document.documentElement).getPropertyValue("--is-dark").trim() === "1";
  document.documentElement.dataset.theme = dark ? "light" : "dark";
  localStorage.setItem("theme", document.documentElement.dataset.theme);
});
