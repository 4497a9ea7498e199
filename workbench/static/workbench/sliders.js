// Handles over a histogram set the least and the largest value of a filter, which can also be typed. The
// server draws the histogram, anew after each change; it says which values its bars stand for.

for (const slider of sliders()) refresh(slider);
document.addEventListener("htmx:oobAfterSwap", () => sliders().forEach(refresh));
document.addEventListener("input", (event) => {
  const slider = event.target.closest(".slider");
  if (!slider) return;
  if (event.target.type === "range") move(slider, event.target);
  else refresh(slider);
});

function sliders() {
  return [...document.querySelectorAll(".slider")];
}

function partsOf(slider) {
  const picture = slider.querySelector("svg");
  const [least, most] = slider.querySelectorAll(".limits input");
  return {
    lows: picture?.dataset.lows.split(" ") ?? [],
    highs: picture?.dataset.highs.split(" ") ?? [],
    low: slider.querySelector(".low"),
    high: slider.querySelector(".high"),
    least,
    most,
  };
}

// Put the handles where the typed values are.
function refresh(slider) {
  const { lows, highs, low, high, least, most } = partsOf(slider);
  slider.querySelector(".handles").hidden = lows.length < 2;
  if (lows.length < 2) return;
  const before = lows.filter((value) => !isAfter(value, least.value)).length - 1;
  set(low, lows.length, least.value ? Math.max(before, 0) : 0, least.value);
  if (!high) return;
  const inside = highs.findIndex((value) => !isAfter(most.value, value)) + 1;
  set(high, lows.length, most.value && inside ? inside : lows.length, most.value);
}

function isAfter(value, other) {
  // Days are texts like 2026-05-31, which sort as days do.
  return value.includes("-") ? value > other : Number(value) > Number(other);
}

function set(handle, max, place, value) {
  handle.max = max;
  handle.value = place;
  handle.setAttribute("aria-valuetext", value || "any");
}

// Write what the moved handle stands for into its field. The handles never pass each other.
function move(slider, handle) {
  const { lows, highs, low, high, least, most } = partsOf(slider);
  const isLow = handle === low;
  const place = isLow
    ? Math.min(Number(handle.value), (high ? Number(high.value) : lows.length) - 1)
    : Math.max(Number(handle.value), Number(low.value) + 1);
  const isOpen = isLow ? place === 0 : place === lows.length;
  const field = isLow ? least : most;
  field.value = isOpen ? "" : isLow ? lows[place] : highs[place - 1];
  set(handle, lows.length, place, field.value);
  field.dispatchEvent(new Event("change", { bubbles: true }));
}
