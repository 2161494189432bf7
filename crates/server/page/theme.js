// Before the first paint, and so no module: a page that was set to dark must not flash.
"use strict";
try {
  const chosen = localStorage.getItem("albert-theme");
  if (chosen) document.documentElement.dataset.theme = chosen;
} catch {
  // Storage is off; the system's theme is good enough.
}
