// A new secret is shown once, in a dialog of its own; the page never holds it otherwise.
(() => {
  "use strict";
  const { one } = window.Porter;
  document.addEventListener("porter:done", (event) => {
    if (!event.target.matches("[data-makes-secret]")) return;
    event.target.closest("dialog").close();
    event.target.reset();
    one("[data-secret]").textContent = event.detail.token ?? event.detail.secret;
    const made = one("#made");
    const then = made.dataset.then?.replace("{id}", encodeURIComponent(event.detail.id));
    made.addEventListener("close", () => (then ? location.assign(then) : location.reload()), { once: true });
    made.showModal();
  });
  one("[data-reloads]")?.addEventListener("click", () => one("#made").close());
})();
