// A role's place is in the address, not in the body: put it there.
(() => {
  "use strict";
  const { api, fields, one } = window.Porter;
  document.addEventListener("submit", async (event) => {
    const user = event.target.dataset.grants;
    if (!user) return;
    event.preventDefault();
    const { role, project } = fields(event.target);
    const place = one("[data-error]", event.target);
    place.hidden = true;
    try {
      await api("PUT", `/v1/users/${encodeURIComponent(user)}/grants/${encodeURIComponent(project)}/${encodeURIComponent(role)}`);
      location.reload();
    } catch (error) {
      place.textContent = error.message;
      place.hidden = false;
    }
  });
})();
