// Before anything is painted: the theme that was chosen on this machine, if any.
(() => {
  "use strict";
  document.documentElement.classList.add("scripted");
  try {
    const chosen = localStorage.getItem("porter-theme");
    if (chosen === "dark" || chosen === "light") document.documentElement.dataset.theme = chosen;
  } catch {
    // Storage may be forbidden; then the system's theme it is.
  }
})();
