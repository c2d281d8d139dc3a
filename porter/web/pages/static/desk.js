// Dialogs of the pages for workloads, migrations and what people decide. Needs app.js.
(() => {
  "use strict";
  const { each } = window.Porter;

  function show() {
    each("button[data-opens][hidden]", (button) => (button.hidden = false));
  }

  document.addEventListener("click", (event) => {
    const opens = event.target.closest("[data-opens]");
    if (opens) document.getElementById(opens.dataset.opens)?.showModal();
    const closes = event.target.closest("[data-closes]");
    if (closes) closes.closest("dialog").close();
    const copies = event.target.closest("[data-copies]");
    if (copies) copy(copies);
  });

  // What a choice means beyond its own value goes along. Before app.js reads the form.
  document.addEventListener("submit", (event) => {
    const chosen = event.target.querySelector("input[data-adds]:checked");
    if (chosen) event.target.dataset.body = chosen.dataset.adds;
  }, true);

  async function copy(button) {
    const from = document.getElementById(button.dataset.copies);
    try {
      await navigator.clipboard.writeText(from.textContent);
      button.textContent = "Copied";
      window.Porter.announce("Copied");
    } catch {
      getSelection().selectAllChildren(from);
      button.textContent = "Selected: press Ctrl+C";
    }
  }

  // What was asked for before a question was opened must not take it away.
  document.addEventListener("htmx:beforeSwap", (event) => {
    if (event.detail.target?.querySelector?.("dialog[open]")) event.detail.shouldSwap = false;
  });
  document.addEventListener("htmx:afterSettle", show);
  show();
})();
