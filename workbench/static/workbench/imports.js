// The place to drop a file. Without this script the same form works with its file button.

const form = document.getElementById("drop");
const input = form.querySelector('input[type="file"]');
const tooLarge = form.querySelector("[data-too-large]");

function fits(file) {
  const ok = !file || file.size <= Number(form.dataset.maxBytes);
  tooLarge.hidden = ok;
  return ok;
}

function send() {
  if (input.files.length && fits(input.files[0])) form.requestSubmit();
}

for (const name of ["dragenter", "dragover"]) {
  form.addEventListener(name, (event) => {
    event.preventDefault();
    form.classList.add("over");
  });
}
for (const name of ["dragleave", "drop"]) {
  form.addEventListener(name, () => form.classList.remove("over"));
}
form.addEventListener("drop", (event) => {
  event.preventDefault();
  input.files = event.dataTransfer.files;
  send();
});
input.addEventListener("change", send);
form.addEventListener("submit", (event) => {
  if (!fits(input.files[0])) event.preventDefault();
  else form.querySelector("[data-sending]").hidden = false;
});
