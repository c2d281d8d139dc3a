// A migration as it happens: its events, what is being sent, and steps that grow. Needs desk.js.
(() => {
  "use strict";
  const { size, one, announce } = window.Porter;
  const root = one("[data-migration]");
  if (!root) return;
  const identity = root.dataset.migration;
  const log = one("[data-log]");
  const line = one("[data-stream]");
  const chart = one("[data-chart]");
  const pick = (name) => one(`[data-${name}]`, root);
  const ended = () => one("#story").dataset.ended === "yes";
  const LOG = 400;

  // ---- the part that the server draws: fetched again when something happened, and while it lasts

  let due = null;
  let again = 0;

  async function redraw() {
    due = null;
    if (!window.htmx || one("dialog[open]")) return later(1000);
    again = Date.now() + 400;
    const focused = document.activeElement?.id;
    await window.htmx.ajax("GET", `/migrations/${encodeURIComponent(identity)}/live`, { target: "#story", swap: "outerHTML" });
    if (focused && !document.activeElement?.id) document.getElementById(focused)?.focus();
    if (!ended()) later(1000);
  }

  function later(wait = 0) {
    const at = Math.max(Date.now() + wait, again);
    if (due && due.at <= at) return;
    if (due) clearTimeout(due.timer);
    due = { at, timer: setTimeout(redraw, at - Date.now()) };
  }

  // ---- what is being sent

  const flow = { before: new Map(), points: [], peak: 0, link: 0, sent: new Map() };
  let plot = null;

  function progress(event) {
    const { phase = "", done = 0, total = 0, capacity = 0, step = "" } = event.data;
    pick("doing").textContent = ended() ? "" : event.message || phase;
    if (capacity) {
      flow.link = capacity;
      pick("link").textContent = `${size(capacity)}/s`;
    }
    if (!done) return;
    const what = `${step} ${phase}`;
    const before = flow.before.get(what);
    flow.before.set(what, { at: event.at, done });
    flow.sent.set(what, done);
    pick("sent").textContent = size([...flow.sent.values()].reduce((sum, value) => sum + value, 0));
    if (total) {
      pick("meter").removeAttribute("hidden");
      pick("fill").setAttribute("width", Math.min(100, (done / total) * 100).toFixed(1));
      pick("meter").setAttribute("aria-label", `${phase}: ${size(done)} of ${size(total)}`);
    }
    if (!before || event.at <= before.at || done < before.done) return;
    const rate = (done - before.done) / (event.at - before.at);
    flow.points.push([event.at, rate]);
    flow.peak = Math.max(flow.peak, rate);
    pick("rate").textContent = `${size(rate)}/s`;
    pick("peak").textContent = `${size(flow.peak)}/s`;
    draw();
  }

  const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

  function draw() {
    if (!window.uPlot || flow.points.length < 3) return;
    chart.hidden = false;
    const start = flow.points[0][0];
    const data = [flow.points.map(([at]) => at - start), flow.points.map(([, rate]) => rate), flow.points.map(() => flow.link || null)];
    if (plot) return plot.setData(data);
    const axis = { stroke: colour("--dim"), grid: { stroke: colour("--line"), width: 1 }, ticks: { show: false }, font: "11px system-ui" };
    plot = new window.uPlot({
      width: chart.clientWidth,
      height: 150,
      legend: { show: false },
      cursor: { show: false },
      scales: { x: { time: false }, y: { range: (_, low, high) => [0, Math.max(high, flow.link, 1) * 1.15] } },
      series: [
        {},
        { stroke: colour("--accent"), width: 2, fill: colour("--accent-soft"), points: { show: false } },
        { stroke: colour("--warn"), width: 1, dash: [6, 4], points: { show: false } },
      ],
      axes: [
        { ...axis, values: (_, ticks) => ticks.map((tick) => `${tick} s`) },
        { ...axis, size: 76, values: (_, ticks) => ticks.map((tick) => `${size(tick)}/s`) },
      ],
    }, data, chart);
  }

  function renew() {
    plot?.destroy();
    plot = null;
    draw();
  }

  // ---- events

  /** The same shape for whatever an event is wrapped in. */
  function read(name, text) {
    const said = JSON.parse(text);
    const inner = said.data ?? {};
    const data = { ...inner, ...(inner.data ?? {}) };
    const kind = String(said.kind ?? said.type ?? name);
    const told = said.at ?? said.time ?? inner.at;
    return { kind, data, message: said.message ?? inner.message ?? "", at: told ? Date.parse(told) / 1000 : Date.now() / 1000 };
  }

  function take(event) {
    if (/(^|\.)progress$/.test(event.kind)) return progress(event);
    write(event);
    const word = /migration\.(succeeded|rolled_back|failed)$/.exec(event.kind);
    if (word) announce(`The move has ended: ${word[1].replace("_", " ")}`);
    later();
  }

  function write(event) {
    const item = document.createElement("li");
    const time = document.createElement("time");
    time.dateTime = new Date(event.at * 1000).toISOString();
    time.textContent = new Date(event.at * 1000).toLocaleTimeString([], { hour12: false });
    const kind = document.createElement("strong");
    kind.textContent = event.kind.split(".").slice(-2).join(" ").replace("_", " ");
    const words = document.createElement("span");
    words.textContent = [event.data.step, event.message].filter(Boolean).join(": ");
    item.append(time, kind, words);
    const below = log.scrollHeight - log.scrollTop - log.clientHeight < 40;
    log.append(item);
    while (log.children.length > LOG) log.firstChild.remove();
    if (below) log.scrollTop = log.scrollHeight;
  }

  // EventSource would hear only the kinds that are named beforehand, and begin anew after the end.
  let last = "";

  async function listen() {
    const headers = { Accept: "text/event-stream", ...(last ? { "Last-Event-ID": last } : {}) };
    const answer = await fetch(`/v1/migrations/${encodeURIComponent(identity)}/events`, { headers });
    if (!answer.ok) throw new Error(`the API answered ${answer.status}`);
    line.textContent = ended() ? "" : "Live";
    const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
    let rest = "";
    for (;;) {
      const { value, done } = await reader.read();
      if (done) return;
      const frames = (rest + value).split(/\r?\n\r?\n/);
      rest = frames.pop();
      frames.forEach(hear);
    }
  }

  function hear(frame) {
    let name = "message";
    const data = [];
    for (const text of frame.split(/\r?\n/)) {
      if (text.startsWith("id:")) last = text.slice(3).trim();
      else if (text.startsWith("event:")) name = text.slice(6).trim();
      else if (text.startsWith("data:")) data.push(text.slice(5).trimStart());
    }
    if (data.length) take(read(name, data.join("\n")));
  }

  /** What was told on the way is thinned out: the receipt has the sums. */
  function over() {
    pick("doing").textContent = "";
    pick("rate").parentElement.hidden = true;
    pick("peak").parentElement.hidden = !flow.peak;
    pick("meter").setAttribute("hidden", "");
    const moved = Number(one("#story").dataset.moved);
    if (moved) pick("sent").textContent = size(moved);
  }

  async function follow() {
    for (let wait = 500; ; wait = Math.min(wait * 2, 8000)) {
      try {
        await listen();
        wait = 500;
        const now = await window.Porter.api("GET", `/v1/migrations/${encodeURIComponent(identity)}`);
        if (["succeeded", "rolled_back", "failed"].includes(now.state)) break;
      } catch {
        line.textContent = "The events are out of reach; trying again. The move goes on by itself.";
      }
      await new Promise((done) => setTimeout(done, wait));
    }
    line.textContent = "";
    if (!ended()) await redraw();
    over();
  }

  new ResizeObserver(() => plot?.setSize({ width: chart.clientWidth, height: 150 })).observe(chart);
  document.addEventListener("porter:theme", renew);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", renew);
  if (!ended()) later(1000);
  follow();
})();
