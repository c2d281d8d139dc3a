// Moving everything away from a host: one migration for each of its workloads.
(() => {
  "use strict";
  const { api, one } = window.Porter;
  const dialog = one("#drain");
  if (!dialog) return;
  const form = one("form", dialog);
  one('[data-open="#drain"]').addEventListener("click", () => dialog.showModal());
  one("[data-close]", form).addEventListener("click", () => dialog.close());

  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    const [error, progress, button] = [one("[data-error]", form), one("[data-progress]", form), one(".primary", form)];
    error.hidden = true;
    button.disabled = true;
    const refused = [];
    try {
      const { workloads: names } = await api("GET", `/v1/hosts/${encodeURIComponent(form.dataset.drain)}`);
      progress.hidden = false;
      for (const [number, name] of names.entries()) {
        progress.textContent = `${number + 1} of ${names.length}: ${name}`;
        try {
          await api("POST", "/v1/migrations", { workload: name, to: form.elements.to.value });
        } catch (problem) {
          refused.push(`${name}: ${problem.message}`);
        }
      }
      progress.textContent = `${names.length - refused.length} of ${names.length} are on their way.`;
    } catch (problem) {
      refused.push(problem.message);
    }
    button.disabled = false;
    if (refused.length) {
      error.textContent = refused.join(" · ");
      error.hidden = false;
    } else location.assign("/");
  });
})();
