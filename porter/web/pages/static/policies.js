// A policy's name is in the address, its document in the body.
(() => {
  "use strict";
  const { api, one } = window.Porter;
  document.addEventListener("submit", async (event) => {
    if (event.target.dataset.policy === undefined) return;
    event.preventDefault();
    const form = event.target;
    const text = one("[name=document]", form).value;
    const name = form.dataset.policy || /^name:\s*["']?([\w-]+)/m.exec(text)?.[1] || "unnamed";
    const place = one("[data-error]", form);
    place.hidden = true;
    try {
      await api("PUT", `/v1/policies/${encodeURIComponent(name)}`, { document: text });
      location.assign(`/policies/${encodeURIComponent(name)}`);
    } catch (error) {
      place.textContent = error.message;
      place.hidden = false;
      one("[name=document]", form).focus();
    }
  });
})();
