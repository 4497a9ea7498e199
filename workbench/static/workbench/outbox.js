// What the annotator decided, on its way to the server. Every entry is written to localStorage before anything
// else happens, and leaves it only when the server has answered: a reload, a closed tab, a lost network or an
// expired login loses nothing. Entries carry an idempotency key, so sending one twice is harmless.

const FIRST_WAIT = 1000;
const LONGEST_WAIT = 20_000;

/** A version 4 UUID. Not crypto.randomUUID, which browsers offer only over HTTPS and on localhost. */
export function newKey() {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  bytes[6] = (bytes[6] & 0x0f) | 0x40;
  bytes[8] = (bytes[8] & 0x3f) | 0x80;
  const hex = Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
  return hex.replace(/^(.{8})(.{4})(.{4})(.{4})/, "$1-$2-$3-$4-");
}

/** The token of now: a login in another tab has changed the one that this page was served with. */
function csrfToken() {
  const cookie = document.cookie.match(/(?:^|; )(?:csrftoken|__Host-csrf)=([^;]+)/);
  return cookie ? cookie[1] : document.querySelector("input[name=csrfmiddlewaretoken]").value;
}

/** POST as this page does everywhere. A login page in the way is not followed: its status is 0. */
export function post(url, fields, accept = "application/json") {
  return fetch(url, {
    method: "POST",
    body: new URLSearchParams(fields),
    headers: { Accept: accept, "X-CSRFToken": csrfToken(), "X-Requested-With": "fetch" },
    redirect: "manual",
    keepalive: true,
  });
}

const datasetOf = (entry) => entry.url.match(/datasets\/\d+/)?.[0];

export class Outbox {
  /**
   * @param {string} user whose answers these are: on a shared machine nobody sends another's
   * @param {{reply: function, refused: function, state: function}} listener hears what happens to entries, and
   *   the state of them all: "saved", "saving", "waiting" (no connection), "login" or "archived"
   */
  constructor(user, listener) {
    this.prefix = `outbox:${user}:`;
    this.listener = listener;
    this.unstored = new Map(); // entries that localStorage would not take
    this.archived = new Set(); // Datasets that take no entries for now, and keep up no others
    this.sending = null;
    this.wait = FIRST_WAIT;
    addEventListener("online", () => this.flush());
    document.addEventListener("visibilitychange", () => document.hidden || this.flush());
    addEventListener("beforeunload", (event) => this.unstored.size && event.preventDefault());
  }

  entries() {
    const names = Object.keys(localStorage).filter((name) => name.startsWith(this.prefix));
    const stored = names.map((name) => JSON.parse(localStorage.getItem(name))).filter(Boolean);
    return [...stored, ...this.unstored.values()].sort((earlier, later) => earlier.at - later.at);
  }

  add(url, fields) {
    // Two entries of one millisecond still have an order.
    this.last = Math.max(Date.now(), (this.last ?? 0) + 1);
    const entry = { id: fields.key ?? newKey(), at: this.last, url, fields };
    try {
      localStorage.setItem(this.prefix + entry.id, JSON.stringify(entry));
    } catch {
      this.unstored.set(entry.id, entry);
    }
    this.flush();
    return entry;
  }

  drop(entry) {
    localStorage.removeItem(this.prefix + entry.id);
    this.unstored.delete(entry.id);
  }

  /** Resolves when all entries are sent, or something keeps one here: that is tried again by itself. */
  flush() {
    this.sending ??= this.sendAll().finally(() => (this.sending = null));
    return this.sending;
  }

  /** Oldest first and one at a time: a change must not overtake what it changes. */
  async sendAll() {
    clearTimeout(this.timer);
    this.archived.clear();
    let trouble = null;
    for (
      let entry;
      !trouble && (entry = this.entries().find((waiting) => !this.archived.has(datasetOf(waiting))));
    ) {
      this.listener.state("saving", this.entries().length);
      trouble = await this.send(entry);
    }
    if (this.archived.size) trouble ??= "archived";
    this.listener.state(trouble ?? "saved", this.entries().length);
    if (trouble) this.timer = setTimeout(() => this.flush(), this.wait);
    this.wait = trouble ? Math.min(this.wait * 2, LONGEST_WAIT) : FIRST_WAIT;
  }

  /** Returns what keeps the entry here, or null when the server has dealt with it. */
  async send(entry) {
    let response, reply;
    try {
      response = await post(entry.url, entry.fields);
      if (response.type === "opaqueredirect" || response.status === 401) return "login";
      if (response.status >= 500 || response.status === 429) return "waiting";
      if (response.status === 423) {
        this.archived.add(datasetOf(entry));
        return null;
      }
      // A 403 that is not ours is a token from before a login: the next try reads the new one.
      if (!response.headers.get("Content-Type")?.startsWith("application/json")) {
        return response.status === 403
          ? "login"
          : this.refuse(entry, "You are not a member of this dataset any more.");
      }
      reply = await response.json();
    } catch {
      return "waiting";
    }
    if (!response.ok) return this.refuse(entry, reply.error, reply);
    this.drop(entry);
    this.listener.reply(entry, reply);
    return null;
  }

  refuse(entry, sentence, reply = {}) {
    this.drop(entry);
    this.listener.refused(entry, sentence, reply);
    return null;
  }
}
