// A workload's memory as its host's heartbeats tell it, collected while the page is open.
(() => {
  "use strict";
  const { api, size, one } = window.Porter;
  const EVERY = 5000;
  const KEPT = 360;
  const root = one("[data-memory]");
  if (!root) return;
  const chart = one("[data-memory-chart]");
  const key = `memory ${root.dataset.name}`;
  let samples = recalled();
  let plot = null;

  function recalled() {
    try {
      const found = JSON.parse(sessionStorage.getItem(key) ?? "[]");
      return found.filter(([at]) => at > Date.now() / 1000 - (KEPT * EVERY) / 1000);
    } catch {
      return [];
    }
  }

  function keep(bytes) {
    samples.push([Date.now() / 1000, bytes]);
    samples = samples.slice(-KEPT);
    try {
      sessionStorage.setItem(key, JSON.stringify(samples));
    } catch {
      // Then the picture begins anew with the next page.
    }
    const values = samples.map(([, value]) => value);
    one("[data-memory-now]").textContent = size(bytes);
    chart.setAttribute("aria-label", `Memory while this page was open: now ${size(bytes)}, between ${size(Math.min(...values))} and ${size(Math.max(...values))}`);
    draw();
  }

  function colour(name) {
    return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  }

  function draw() {
    if (!window.uPlot) return;
    // Two points make a line: a single sample is drawn as one that lasted.
    const shown = samples.length > 1 ? samples : [[samples[0][0] - EVERY / 1000, samples[0][1]], samples[0]];
    const data = [shown.map(([at]) => at), shown.map(([, value]) => value)];
    if (plot) return plot.setData(data);
    const axis = { stroke: colour("--dim"), grid: { stroke: colour("--line"), width: 1 }, ticks: { show: false }, font: "11px system-ui" };
    plot = new window.uPlot({
      width: chart.clientWidth,
      height: 140,
      legend: { show: false },
      cursor: { show: false },
      scales: { x: { range: (_, low, high) => [Math.min(low, high - 60), high] }, y: { range: (_, low, high) => [0, Math.max(high * 1.2, 1)] } },
      series: [{}, { stroke: colour("--accent"), width: 2, fill: colour("--accent-soft"), points: { show: false } }],
      axes: [{ ...axis, space: 90, values: (_, ticks) => ticks.map((tick) => new Date(tick * 1000).toLocaleTimeString([], { hour12: false })) }, { ...axis, size: 64, values: (_, ticks) => ticks.map(size) }],
    }, data, chart);
  }

  function again() {
    plot?.destroy();
    plot = null;
    draw();
  }

  async function look() {
    if (document.hidden) return;
    try {
      keep((await api("GET", root.dataset.memory)).memory_bytes);
    } catch {
      // The next look may do better; what is shown says how old it is.
    }
  }

  new ResizeObserver(() => plot?.setSize({ width: chart.clientWidth, height: 140 })).observe(chart);
  document.addEventListener("porter:theme", again);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", again);
  keep(Number(root.dataset.now));
  setInterval(look, EVERY);
})();
