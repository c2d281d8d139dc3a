// What verifying and sweeping a site found, as tables beside their buttons.
(() => {
  "use strict";
  const { one, each, announce } = window.Porter;

  function cell(row, content, tag = "td") {
    const made = document.createElement(tag);
    if (tag === "th") made.scope = "row";
    made.append(content);
    row.append(made);
  }

  function badge(text, tone) {
    const made = document.createElement("span");
    made.className = `badge ${tone}`;
    made.textContent = text;
    return made;
  }

  function table(heads, rows, label) {
    const frame = document.createElement("div");
    frame.className = "table";
    frame.tabIndex = 0;
    frame.setAttribute("role", "region");
    frame.setAttribute("aria-label", label);
    const made = frame.appendChild(document.createElement("table"));
    const head = made.createTHead().insertRow();
    for (const name of heads) {
      const th = head.appendChild(document.createElement("th"));
      th.scope = "col";
      th.textContent = name;
    }
    const body = made.createTBody();
    for (const values of rows) {
      const row = body.insertRow();
      values.forEach((value, number) => cell(row, value, number ? "td" : "th"));
    }
    return frame;
  }

  function note(text) {
    const made = document.createElement("p");
    made.textContent = text;
    return made;
  }

  function rights(found) {
    if (!found.length) return note("Porter needs no rights here.");
    const state = (right) => right.granted === null ? badge("not known", "warn") : right.granted ? badge("granted", "good") : badge("missing", "bad");
    return table(["Right", "State", "For", "Remedy"], found.map((one) => [one.name, state(one), one.purpose, one.granted ? "" : one.remedy]), "Rights at this site");
  }

  function findings(found) {
    if (!found.length) return note("There is none.");
    const box = document.createElement("div");
    box.append(table(["What", "Id", "Verdict", "Why"], found.map((one) => [one.kind, one.id, badge(one.verdict, one.verdict === "stray" ? "bad" : "dim"), one.explanation]), "What was found"));
    const strays = found.filter((one) => one.verdict === "stray").length;
    if (strays) {
      const remove = box.appendChild(document.createElement("button"));
      remove.type = "button";
      remove.className = "danger";
      remove.textContent = "Remove strays";
      remove.dataset.api = one('[data-shows="findings"]').dataset.api;
      remove.dataset.body = '{"remove": true}';
      remove.dataset.confirm = `Remove what nobody knows of (${strays})? Machines among it are terminated.`;
    }
    return box;
  }

  const shows = { rights, findings };
  each("[data-shows]", (button) => button.addEventListener("porter:done", (event) => {
    const name = button.dataset.shows;
    const place = one(`#${name}`);
    place.closest("section").hidden = false;
    place.replaceChildren(shows[name](event.detail));
    place.closest("section").scrollIntoView({ block: "nearest" });
    announce("Done.");
  }));
})();
