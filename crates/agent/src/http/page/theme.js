// The colours before anything is drawn: by the system, or as a person chose. It is no module, since a module
// runs after the first picture.
"use strict";
try {
  const theme = localStorage.getItem("modemfleet-theme");
  if (theme === "light" || theme === "dark") document.documentElement.dataset.theme = theme;
} catch {
  // Without storage the system decides.
}
