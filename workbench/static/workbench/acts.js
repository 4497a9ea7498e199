// An act that opens takes the focus into its first field, so that a reason and Enter complete it.

for (const act of document.querySelectorAll('details[name="act"]')) {
  act.addEventListener("toggle", () => {
    if (act.open) {
      act.querySelector("input:not([type=hidden]), select")?.focus();
    }
  });
}
