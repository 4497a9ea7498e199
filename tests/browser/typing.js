// For test_typing.py, before any script of the page: what came on screen when, what was sent when, and what was
// written where, all by the page's own clock. `type` presses a key that is not trusted: the browser does nothing by
// itself about such a key, so what it would do about a trusted one is done here.
window.typing = { since: {}, sent: [], notes: {}, started: 0, done: 0 };
{
  const log = window.typing;
  const realTimeout = setTimeout.bind(window);
  const onScreen = () =>
    document.querySelector(".item")?.dataset.comparison ??
    document.querySelector("#case .answer [name=comparison]")?.value;

  let last;
  const look = () => {
    const now = onScreen();
    if (now !== undefined && now !== last) log.since[now] = performance.now();
    last = now;
  };
  new MutationObserver(look).observe(document, { childList: true, subtree: true });

  document.addEventListener(
    "input",
    ({ target }) => {
      if (target.matches("#case .note, [name=comment]")) log.notes[onScreen()] = target.value;
    },
    true,
  );

  // A flag is about what was on screen when its dialog was opened; behind it the page may go on.
  let opened = {};
  const { showModal } = HTMLDialogElement.prototype;
  HTMLDialogElement.prototype.showModal = function () {
    if (this.id === "flag") opened = { since: log.since[onScreen()] ?? null, comparison: onScreen() };
    showModal.call(this);
  };

  /** Somebody has answered: recorded at once, though an answer may wait before it is sent. */
  const given = (to, fields) => {
    const [, act] = /\/(settle|judge|skip|flag)\/$/.exec(new URL(to, location).pathname) ?? [];
    if (!act) return;
    const { comparison } = fields;
    const words = { settle: fields.note, judge: fields.comment }[act] ?? "";
    const written = ["settle", "judge"].includes(act) ? (log.notes[comparison] ?? "") : "";
    if (act === "settle") log.notes[comparison] = ""; // undone, it comes back without
    const seen = act === "flag" ? opened : { since: log.since[comparison] ?? null, comparison };
    log.sent.push({
      to,
      at: performance.now(),
      since: seen.since,
      asked: seen.comparison,
      comparison,
      words,
      written,
    });
  };
  const { setItem } = Storage.prototype;
  Storage.prototype.setItem = function (name, value) {
    setItem.call(this, name, value);
    if (!name.startsWith("outbox:")) return;
    const { url, fields } = JSON.parse(value);
    given(url, fields);
  };

  // A request is done when those who waited for it have had their turn.
  const begun = () => {
    log.started += 1;
    return performance.now();
  };
  let waiting = [];
  const ended = () =>
    realTimeout(() => {
      log.done += 1;
      waiting = waiting.filter(([n, resolve]) => n > log.done || resolve());
    }, 4);
  log.until = (n) => new Promise((resolve) => (log.done >= n ? resolve() : waiting.push([n, resolve])));

  const realFetch = window.fetch;
  window.fetch = async (url, options = {}) => {
    const at = begun();
    try {
      return await realFetch(url, { ...options, headers: { ...options.headers, "X-Typed-At": at } });
    } finally {
      ended();
    }
  };
  const { open, send } = XMLHttpRequest.prototype;
  XMLHttpRequest.prototype.open = function (method, url, ...more) {
    this.typedUrl = url;
    return open.call(this, method, url, ...more);
  };
  XMLHttpRequest.prototype.send = function (body) {
    if (body) given(this.typedUrl, Object.fromEntries(new URLSearchParams(body)));
    this.setRequestHeader("X-Typed-At", begun());
    this.addEventListener("loadend", ended);
    return send.call(this, body);
  };

  const code = (key) =>
    /[a-z]/i.test(key) && key.length === 1 ? `Key${key.toUpperCase()}` : /\d/.test(key) ? `Digit${key}` : key;
  const isText = (target) => target.matches("textarea, input:not([type=radio], [type=checkbox])");
  const defaultButton = (form) => form?.querySelector("button:not([type=button])");

  log.type = (key) => {
    const event = new KeyboardEvent("keydown", { key, code: code(key), bubbles: true, cancelable: true });
    if (!document.activeElement.dispatchEvent(event)) return;
    const target = document.activeElement;
    if (key === "Escape") return document.querySelector("dialog[open]")?.close();
    if (isText(target) && key.length === 1) return document.execCommand("insertText", false, key);
    if (key === "Enter" && target.matches("textarea")) return document.execCommand("insertText", false, "\n");
    if (key === "Enter" && target.matches("input")) return defaultButton(target.form)?.click();
    if ((key === "Enter" || key === " ") && target.matches("button, a, summary")) return target.click();
    if (key === " " && target.matches("[type=radio], [type=checkbox]")) return target.click();
  };
  /** Type these [key, milliseconds before it], one after the other. */
  log.plan = (keys) => {
    let at = 0;
    for (const [key, pause] of keys) setTimeout(log.type, (at += pause), key);
  };
}
