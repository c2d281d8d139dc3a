// A new token is shown once, in a dialog of its own; the page never holds it otherwise.
(() => {
  "use strict";
  const { one } = window.Porter;
  document.addEventListener("porter:done", (event) => {
    if (!event.target.matches("[data-makes-token]")) return;
    one("#make").close();
    event.target.reset();
    one("[data-secret]").textContent = event.detail.token;
    const made = one("#made");
    made.addEventListener("close", () => location.reload(), { once: true });
    made.showModal();
  });
  one("[data-reloads]").addEventListener("click", () => one("#made").close());
})();
