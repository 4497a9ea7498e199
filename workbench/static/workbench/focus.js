// Focus what the page names, without scrolling to it: autofocus would scroll past what stands before it.

document.querySelector("[data-focus]")?.focus({ preventScroll: true });
