// A button that copies the lines below it, or the field beside it. Without this script they can be selected by
// hand.

for (const button of document.querySelectorAll("[data-copy]")) {
  const place = button.closest("figure, .copied");
  const field = place.querySelector("input");
  const text = field ? field.value : place.querySelector("pre").textContent;
  const label = button.textContent;
  button.hidden = false;
  button.addEventListener("click", async () => {
    try {
      await navigator.clipboard.writeText(text);
      button.textContent = "Copied";
    } catch {
      button.textContent = "Not allowed here: select and copy by hand";
    }
    setTimeout(() => {
      button.textContent = label;
    }, 2000);
  });
}
