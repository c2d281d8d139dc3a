// The map: workloads under way are drawn on an SVG above it, as far as their steps have come.
// The parts below it are fetched again when something has changed; this only adds what moves.
(() => {
  "use strict";
  const SVG = "http://www.w3.org/2000/svg";
  const MOST = 40; // so many are drawn; the list tells of all
  const NAMED = 8; // more than this are drawn without their names
  const LINGER = 1200; // ms that an arrived one is still seen
  const LINES = 3; // streams of single migrations, where there is none of everything
  const KINDS = ["progress", "step.started", "step.done", "step.undone", "migration.undoing",
    "migration.succeeded", "migration.rolled_back", "migration.failed", "migration.held"];
  const sea = document.getElementById("sea");
  const still = matchMedia("(prefers-reduced-motion: reduce)");
  const ships = new Map();
  let spans = {};
  let frame = 0;

  function node(name, attributes, parent) {
    const made = document.createElementNS(SVG, name);
    for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
    parent.append(made);
    return made;
  }

  function launch(voyage) {
    const group = node("g", { "data-ship": voyage.workload }, sea);
    const course = node("path", { class: "course" }, group);
    const hull = node("g", { class: "hull" }, group);
    const width = Math.max(56, 14 + voyage.workload.length * 8);
    node("circle", { r: 6 }, hull);
    node("rect", { x: -width / 2, y: -13, width, height: 26, rx: 4 }, hull);
    node("text", {}, hull).textContent = voyage.workload;
    const ship = { ...voyage, group, course, hull, shown: voyage.done, ended: 0 };
    ships.set(voyage.id, ship);
    if (document.body.dataset.stream === "lost") follow(ship);
    return ship;
  }

  /** Where there is no stream of everything, hear the migration's own. */
  function follow(ship) {
    const open = [...ships.values()].filter((other) => other.line).length;
    if (ship.line || open >= LINES) return;
    ship.line = new EventSource(`/v1/migrations/${encodeURIComponent(ship.id)}/events`);
    const take = (message) => hear({ type: message.type, data: JSON.parse(message.data) });
    for (const kind of KINDS) ship.line.addEventListener(kind, take);
  }

  function sink(ship) {
    ship.line?.close();
    ship.group.remove();
    ships.delete(ship.id);
  }

  /** Take the course sheet that the server wrote into the map. */
  function read() {
    const sheet = document.getElementById("course");
    if (!sheet) return;
    const told = JSON.parse(sheet.dataset.course);
    spans = told.spans;
    const seen = new Set();
    for (const voyage of told.voyages.slice(0, MOST)) {
      seen.add(voyage.id);
      const ship = ships.get(voyage.id) ?? launch(voyage);
      ship.state = voyage.state;
      if (voyage.done > ship.done) ship.phase = voyage.phase;
      ship.done = Math.max(ship.done, voyage.done);
      row(ship);
    }
    for (const ship of ships.values()) if (!seen.has(ship.id) && !ship.ended) arrive(ship, true);
    sea.classList.toggle("crowded", ships.size > NAMED);
    sail();
  }

  function arrive(ship, well) {
    ship.ended = Date.now();
    ship.line?.close();
    ship.done = well && ship.state !== "undoing" ? 1 : 0;
  }

  function place(name) {
    const found = document.querySelectorAll(`[data-host="${CSS.escape(name)}"]`);
    const card = found[found.length - 1];
    return card?.getBoundingClientRect();
  }

  function berth(name, workload, kind) {
    const card = document.querySelector(`.berth[data-host="${CSS.escape(name)}"] [${kind}="${CSS.escape(workload)}"]`);
    return card?.getBoundingClientRect() ?? place(name);
  }

  function draw(ship) {
    const from = berth(ship.source, ship.workload, "data-load");
    const to = berth(ship.target, ship.workload, "data-arriving");
    ship.group.classList.toggle("held", ship.state === "held");
    ship.group.classList.toggle("undoing", ship.state === "undoing");
    ship.group.toggleAttribute("hidden", !from || !to);
    if (!from || !to) return;
    const zero = sea.getBoundingClientRect();
    const a = [from.left + from.width / 2 - zero.left, from.top + from.height / 2 - zero.top];
    const b = [to.left + to.width / 2 - zero.left, to.top + to.height / 2 - zero.top];
    // A bow upwards, that two hosts beside one another are not joined by a line through names.
    const rise = Math.min(90, 20 + Math.hypot(b[0] - a[0], b[1] - a[1]) / 5);
    const c = [(a[0] + b[0]) / 2, Math.max(10, (a[1] + b[1]) / 2 - rise)];
    ship.course.setAttribute("d", `M${a} Q${c} ${b}`);
    const t = ship.shown;
    const at = [0, 1].map((k) => (1 - t) ** 2 * a[k] + 2 * t * (1 - t) * c[k] + t * t * b[k]);
    ship.hull.setAttribute("transform", `translate(${at[0].toFixed(1)} ${at[1].toFixed(1)})`);
    ship.group.dataset.done = t.toFixed(3);
  }

  function sail() {
    cancelAnimationFrame(frame);
    let moving = false;
    for (const ship of [...ships.values()]) {
      const gap = ship.done - ship.shown;
      ship.shown = still.matches || Math.abs(gap) < 0.002 ? ship.done : ship.shown + gap * 0.09;
      if (ship.ended && Date.now() - ship.ended > LINGER) {
        sink(ship);
        continue;
      }
      draw(ship);
      moving ||= Math.abs(gap) >= 0.002 || ship.ended > 0;
    }
    if (moving) frame = requestAnimationFrame(sail);
  }

  function row(ship) {
    const line = document.querySelector(`[data-voyage="${CSS.escape(ship.id)}"]`);
    if (!line) return;
    line.querySelector("progress").value = ship.done;
    if (ship.phase) line.querySelector("[data-phase]").textContent = ship.phase;
  }

  function hear(event) {
    const told = window.Porter.migration(event);
    const ship = told && ships.get(told.migration);
    if (!ship || ship.ended) return;
    const span = spans[told.step];
    if (span) {
      const part = told.total > 0 ? Math.min(1, told.done / told.total) : told.verb === "done" ? 1 : 0;
      ship.done = Math.max(ship.done, span[0] + (span[1] - span[0]) * part);
      if (ship.phase !== told.step) {
        ship.phase = told.step;
        window.Porter.announce(`${ship.workload} to ${ship.target}: ${told.step}`);
      }
    }
    if (told.state === "undoing") ship.state = "undoing";
    if (["succeeded", "rolled_back", "failed"].includes(told.state)) {
      arrive(ship, told.state === "succeeded");
      window.Porter.announce(`${ship.workload}: ${told.state.replace("_", " ")}`);
    }
    row(ship);
    sail();
  }

  window.Porter.news((event) => (event ? hear(event) : ships.forEach(follow)));
  document.addEventListener("htmx:afterSettle", read);
  addEventListener("resize", sail);
  document.addEventListener("porter:theme", sail);
  read();
})();
