// What all pages share: theme, keys, relative times, calls of the API, news from the fleet.
// A page's own script uses window.Porter. How to is told in docs/dashboard.md.
(() => {
  "use strict";
  const csrf = document.querySelector('meta[name="csrf"]').content;
  const one = (selector, root = document) => root.querySelector(selector);
  const each = (selector, act, root = document) => root.querySelectorAll(selector).forEach(act);

  // ---- telling

  function announce(text) {
    one("#live").textContent = text;
  }

  function toast(text, tone = "bad") {
    const box = document.createElement("div");
    box.className = `toast ${tone}`;
    const words = document.createElement("p");
    words.textContent = text;
    const close = document.createElement("button");
    close.type = "button";
    close.className = "quiet";
    close.textContent = "Dismiss";
    close.addEventListener("click", () => box.remove());
    box.append(words, close);
    one("#toasts").append(box);
    if (tone === "good") setTimeout(() => box.remove(), 6000);
  }

  function sure(text) {
    const dialog = one("#confirm");
    one("#confirm-text").textContent = text;
    dialog.returnValue = "";
    dialog.showModal();
    return new Promise((done) => {
      dialog.addEventListener("close", () => done(dialog.returnValue === "yes"), { once: true });
    });
  }

  // ---- the API

  function key() {
    return Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, "0")).join("");
  }

  /** Call the REST API as this page's reader. Throws an Error whose message says what to do. */
  async function api(method, path, body, headers = {}) {
    const sent = { Accept: "application/json", "X-CSRF-Token": csrf, ...headers };
    if (method === "POST") sent["Idempotency-Key"] ??= key();
    if (body !== undefined) sent["Content-Type"] = "application/json";
    let answer;
    try {
      answer = await fetch(path, { method, headers: sent, body: body === undefined ? undefined : JSON.stringify(body) });
    } catch {
      throw new Error("cannot reach the control plane: the connection failed; try again");
    }
    const text = await answer.text();
    let said = null;
    try {
      said = text ? JSON.parse(text) : null;
    } catch {
      said = null;
    }
    if (!answer.ok) {
      const error = new Error([said?.detail ?? `the API answered ${answer.status}`, said?.remedy].filter(Boolean).join("; "));
      error.status = answer.status;
      error.problem = said;
      throw error;
    }
    return said;
  }

  /** A form's fields as JSON: empty ones are left out, data-type converts. */
  function fields(form) {
    const body = {};
    each("[name]", (field) => {
      if (field.disabled || field.type === "submit") return;
      if (field.type === "radio" && !field.checked) return;
      const type = field.dataset.type ?? (field.type === "checkbox" ? "boolean" : field.type === "number" ? "number" : "text");
      if (type === "boolean") body[field.name] = field.checked;
      else if (field.type === "checkbox") {
        if (field.checked) (body[field.name] ??= []).push(field.value);
      } else if (field.value.trim() !== "") {
        const value = field.value.trim();
        if (type === "number") body[field.name] = Number(value);
        else if (type === "json") body[field.name] = JSON.parse(value);
        else if (type === "time") body[field.name] = new Date(value).toISOString();
        else if (type === "list") body[field.name] = value.split(/[\s,]+/).filter(Boolean);
        else body[field.name] = value;
      }
    }, form);
    return body;
  }

  function complain(root, error) {
    const place = one("[data-error]", root);
    if (!place) return toast(error.message);
    place.textContent = error.message;
    place.hidden = false;
  }

  /** data-api="METHOD /v1/path" on a form or button; see docs/dashboard.md. */
  async function act(element) {
    const [method, pattern] = element.dataset.api.split(" ");
    const place = one("[data-error]", element);
    if (place) place.hidden = true;
    if (element.dataset.confirm && !(await sure(element.dataset.confirm))) return;
    const buttons = element.matches("form") ? element.querySelectorAll("button") : [element];
    buttons.forEach((button) => (button.disabled = true));
    element.setAttribute("aria-busy", "true");
    try {
      const fixed = element.dataset.body ? JSON.parse(element.dataset.body) : undefined;
      const body = element.matches("form") ? { ...fixed, ...fields(element) } : fixed;
      // A field that the path names, like {name}, goes there and not into the body.
      const path = pattern.replace(/\{(\w+)\}/g, (_, name) => {
        const value = encodeURIComponent(body[name]);
        delete body[name];
        return value;
      });
      const said = await api(method, path, method === "DELETE" ? undefined : body);
      element.dispatchEvent(new CustomEvent("porter:done", { detail: said, bubbles: true }));
      const then = element.dataset.then ?? "reload";
      if (then === "reload") location.reload();
      else if (then !== "none") location.assign(then.replace(/\{(\w+)\}/g, (_, name) => encodeURIComponent(said?.[name] ?? "")));
    } catch (error) {
      complain(element, error);
    } finally {
      element.removeAttribute("aria-busy");
      buttons.forEach((button) => (button.disabled = false));
    }
  }

  document.addEventListener("submit", (event) => {
    if (!event.target.matches("form[data-api]")) return;
    event.preventDefault();
    act(event.target);
  });
  document.addEventListener("click", (event) => {
    const button = event.target.closest("button[data-api]");
    if (button) act(button);
  });
  document.addEventListener("htmx:configRequest", (event) => {
    if (event.detail.verb !== "get") event.detail.headers["X-CSRF-Token"] = csrf;
  });
  document.addEventListener("htmx:responseError", () => announce("The page could not be refreshed."));

  // ---- times

  function ago(seconds) {
    const size = Math.abs(seconds);
    if (size < 5) return "just now";
    const [below, unit] = size < 60 ? [1, "s"] : size < 3600 ? [60, "min"] : size < 86400 ? [3600, "h"] : [86400, "d"];
    const amount = `${Math.round(size / below)} ${unit}`;
    return seconds < 0 ? `in ${amount}` : `${amount} ago`;
  }

  function retell() {
    each("time[data-when]", (time) => {
      const text = ago((Date.now() - Date.parse(time.dateTime)) / 1000);
      if (time.textContent !== text) time.textContent = text;
    });
  }

  function size(bytes) {
    if (bytes === null || bytes === undefined) return "–";
    let value = bytes;
    for (const unit of ["B", "kB", "MB", "GB"]) {
      if (Math.abs(value) < 1000) return `${unit === "B" ? Math.round(value) : Number(value.toPrecision(3))} ${unit}`;
      value /= 1000;
    }
    return `${Number(value.toPrecision(4))} TB`;
  }

  // ---- news: one stream for the whole page

  const listeners = new Set();
  let listening = false;
  let polling = null;

  /** Hear of all that happens: `hear(event)` with {type, data}; event is null when only time has
   * passed, because the stream is not to be had. Returns a function that ends it. */
  function news(hear) {
    listeners.add(hear);
    if (!listening) listen();
    return () => listeners.delete(hear);
  }

  /** What an event says of a migration: {migration, workload, step, verb, state, done, total,
   * message}; null for other events. `verb` is of a step, `state` of the migration. */
  function migration(event) {
    const said = event?.data ?? {};
    const more = said.data ?? said;
    const id = said.migration ?? more.migration;
    if (!id) return null;
    const kind = String(said.kind ?? event.type);
    const verb = kind.slice(kind.lastIndexOf(".") + 1);
    const step = kind.includes("step.");
    return {
      migration: id,
      workload: said.workload ?? "",
      step: more.step ?? null,
      verb: step ? verb : null,
      state: !step && kind.includes("migration.") ? verb : null,
      done: more.done ?? 0,
      total: more.total ?? 0,
      message: said.message ?? "",
      progress: kind.endsWith("progress") ? more : null,
      at: said.at ?? event.time,
    };
  }

  function tell(event) {
    listeners.forEach((hear) => hear(event));
  }

  const pause = (ms) => new Promise((done) => setTimeout(done, ms));

  function streaming(open) {
    document.body.dataset.stream = open ? "open" : "lost";
    if (open) {
      clearInterval(polling);
      polling = null;
    } else if (!polling) {
      polling = setInterval(() => tell(null), 2000);
    }
  }

  // Read by hand and not by EventSource, which hears only events whose names it knows beforehand.
  let comeBack = 1500;
  async function listen() {
    listening = true;
    let last = "";
    for (;;) {
      let refused = false;
      try {
        const headers = { Accept: "text/event-stream" };
        if (last) headers["Last-Event-ID"] = last;
        const answer = await fetch("/v1/events", { headers, cache: "no-store" });
        refused = !answer.ok;
        if (answer.ok) {
          // What happened while it was broken for longer than events are kept.
          if (polling) tell(null);
          streaming(true);
          const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
          for (let rest = "", part = await reader.read(); !part.done; part = await reader.read()) {
            const frames = (rest + part.value).split(/\r?\n\r?\n/);
            rest = frames.pop();
            for (const frame of frames) last = take(frame) ?? last;
          }
        }
      } catch {
        // The connection broke: again after a while.
      }
      streaming(false);
      await pause(refused ? 15000 : comeBack);
    }
  }

  /** Tell of one frame of the stream; returns its id. */
  function take(frame) {
    let id = null;
    const data = [];
    for (const line of frame.split(/\r?\n/)) {
      const [, name, value] = /^(\w+): ?(.*)$/.exec(line) ?? [];
      if (name === "id") id = value;
      if (name === "data") data.push(value);
      if (name === "retry") comeBack = Number(value) || comeBack;
    }
    if (data.length) {
      try {
        tell(JSON.parse(data.join("\n")));
      } catch {
        tell(null);
      }
    }
    return id;
  }

  // ---- parts of pages that follow the news: data-refresh="word word", words in events' types

  function refresh(part) {
    if (!window.htmx || part.contains(document.activeElement) && document.activeElement.matches("input, select, textarea")) return;
    if (one("dialog[open]")) return later(part.id, 1000);
    window.htmx.ajax("GET", location.pathname + location.search, { target: part, source: part, select: `#${part.id}`, swap: "outerHTML" });
  }

  const waiting = new Map();
  function later(id, wait) {
    if (waiting.has(id)) return;
    waiting.set(id, setTimeout(() => {
      waiting.delete(id);
      const part = document.getElementById(id);
      if (part) refresh(part);
    }, wait));
  }

  function follow() {
    if (!one("[data-refresh]")) return;
    news((event) => each("[data-refresh][id]", (part) => {
      const words = part.dataset.refresh.split(" ").filter(Boolean);
      if (!event || !words.length || words.some((word) => String(event.type).includes(word))) later(part.id, event ? 1000 : 0);
    }));
  }

  // ---- theme and keys

  function themes() {
    const button = one("[data-theme-switch]");
    const names = ["auto", "dark", "light"];
    const now = () => document.documentElement.dataset.theme ?? "auto";
    const name = () => (button.textContent = `Theme: ${now()}`);
    button.hidden = false;
    name();
    button.addEventListener("click", () => {
      const next = names[(names.indexOf(now()) + 1) % names.length];
      if (next === "auto") delete document.documentElement.dataset.theme;
      else document.documentElement.dataset.theme = next;
      try {
        localStorage.setItem("porter-theme", next);
      } catch {
        // Then it lasts for this page.
      }
      name();
      document.dispatchEvent(new CustomEvent("porter:theme"));
    });
  }

  function keys() {
    const help = one("[data-keys-help]");
    help.hidden = false;
    help.addEventListener("click", () => one("#keys").showModal());
    let chord = 0;
    document.addEventListener("keydown", (event) => {
      if (event.ctrlKey || event.metaKey || event.altKey || one("dialog[open]")) return;
      if (event.target.matches("input, textarea, select, [contenteditable]")) return;
      if (Date.now() - chord < 1500) {
        chord = 0;
        const place = one(`.places a[data-key="${CSS.escape(event.key)}"]`);
        if (place) {
          event.preventDefault();
          place.click();
        }
        return;
      }
      if (event.key === "g") chord = Date.now();
      else if (event.key === "/") {
        const search = one("[data-search]");
        if (!search) return;
        event.preventDefault();
        search.focus();
        search.select();
      } else if (event.key === "?") one("#keys").showModal();
    });
  }

  window.Porter = { api, fields, toast, announce, sure, news, migration, size, ago, one, each };
  // In a narrow window the navigation scrolls sideways.
  one(".places a[aria-current]")?.scrollIntoView({ block: "nearest", inline: "center" });
  themes();
  keys();
  follow();
  retell();
  setInterval(retell, 5000);
})();
