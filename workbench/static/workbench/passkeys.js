// Forms with data-passkey ask the browser for a passkey and send it. "create" makes a new one, "get" uses one.
// The options come from the address or the element in data-options. Without passkeys the forms stay hidden.

async function optionsOf(form) {
  const place = form.dataset.options;
  const text = place.startsWith("#")
    ? document.querySelector(place).textContent
    : await (await fetch(place)).text();
  return JSON.parse(text).publicKey;
}

async function credentialFor(form) {
  const options = await optionsOf(form);
  if (form.dataset.passkey === "get") {
    return navigator.credentials.get({ publicKey: PublicKeyCredential.parseRequestOptionsFromJSON(options) });
  }
  return navigator.credentials.create({
    publicKey: PublicKeyCredential.parseCreationOptionsFromJSON(options),
  });
}

const supported = globalThis.PublicKeyCredential?.parseRequestOptionsFromJSON;

for (const form of document.querySelectorAll("[data-passkey]")) {
  form.hidden = !supported;
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    const error = form.querySelector("[role=alert]");
    error.hidden = true;
    try {
      const credential = await credentialFor(form);
      form.elements.credential.value = JSON.stringify(credential.toJSON());
      form.submit();
    } catch {
      error.textContent = "Your browser gave no passkey. Nothing was changed; try again, or use another way.";
      error.hidden = false;
    }
  });
}
