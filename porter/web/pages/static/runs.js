// A run that only looks: what it would propose is told in the dialog, and nothing is kept.
(() => {
  "use strict";
  const { api, fields, one } = window.Porter;

  function line(text) {
    const item = document.createElement("p");
    item.textContent = text;
    return item;
  }

  function told(run) {
    const stays = Object.keys(run.stays ?? {}).length;
    const found = run.proposals.map(({ moves, content }) => {
      const route = moves.map((move) => `${move.workload}: ${move.source} → ${move.target}`).join("; ");
      const { saving, currency } = content.sums;
      // As the API wrote it: sums are exact, numbers of scripts are not.
      return line(`Saves ${saving.replace(/(\.\d\d\d*?)0+$/, "$1")} ${currency}: ${route}`);
    });
    const count = found.length === 0 ? "Nothing would be proposed" : `It would propose ${found.length === 1 ? "this" : `these ${found.length}`}`;
    return [line(`${count}; ${stays} workload${stays === 1 ? "" : "s"} would stay.`), ...found];
  }

  document.addEventListener("click", async (event) => {
    const button = event.target.closest("[data-dry-run]");
    if (!button) return;
    const form = button.form;
    if (!form.reportValidity()) return;
    const [place, answer] = [one("[data-error]", form), one("[data-looked]", form)];
    place.hidden = true;
    answer.hidden = false;
    answer.replaceChildren(line("The optimiser thinks …"));
    button.disabled = true;
    try {
      answer.replaceChildren(...told(await api("POST", "/v1/rebalances?dry_run=true", fields(form))));
    } catch (error) {
      answer.hidden = true;
      place.textContent = error.message;
      place.hidden = false;
    } finally {
      button.disabled = false;
    }
  });
})();
