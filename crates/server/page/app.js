// The page: tabs, the server's models, the key and the theme.

import { get, key } from "./api.js";
import { el, stored } from "./dom.js";
import { taskPanel } from "./panel.js";
import answer from "./tabs/answer.js";
import fillMask from "./tabs/fill-mask.js";
import { modelsPanel } from "./tabs/models.js";
import sentiment from "./tabs/sentiment.js";
import similarity from "./tabs/similarity.js";
import tag from "./tabs/tag.js";
import tokens from "./tabs/tokens.js";
import zeroShot from "./tabs/zero-shot.js";

const known = { models: [], missing: [], problem: null };
const banner = el("div.banner", { role: "alert", hidden: true });

const app = {
  models: () => known.models,
  missing: () => known.missing,
  problem: () => known.problem,
  load,
  /** A request was answered: whatever the banner says is over. */
  reached() {
    banner.hidden = true;
    if (!known.models.length) load();
  },
  /** The server wants a key, or another one. */
  wantKey(problem) {
    keyPanel.open = true;
    keyError.textContent = problem.message;
    keyError.hidden = false;
    keyInput.setAttribute("aria-invalid", "true");
  },
};

const panels = new Map();
for (const tab of [sentiment, fillMask, answer, zeroShot, tag, similarity, tokens]) {
  panels.set(tab.id, { title: tab.title, ...taskPanel(tab, app) });
}
panels.set("models", { title: "Models", ...modelsPanel(app) });

// Tabs: links, so that one opens in a new window as any link does; arrows go from one to the next.
const strip = document.getElementById("tabs");
const ids = [...panels.keys()];
const links = ids.map((id) =>
  el("a", { role: "tab", id: `tab-${id}`, href: `#${id}`, "aria-controls": `panel-${id}` }, panels.get(id).title),
);
strip.append(...links);
strip.addEventListener("keydown", (event) => {
  const here = links.indexOf(event.target);
  const to = { ArrowRight: here + 1, ArrowLeft: here - 1, Home: 0, End: links.length - 1 }[event.key];
  if (event.key === " ") event.target.click();
  else if (to === undefined || event.ctrlKey || event.altKey || event.metaKey) return;
  event.preventDefault();
  if (to === undefined) return;
  const next = (to + links.length) % links.length;
  // Not by the address: walking over tabs should not fill the browser's history.
  history.replaceState(null, "", `#${ids[next]}`);
  select();
  links[next].focus();
});
const main = document.getElementById("main");
main.replaceChildren(banner);
for (const [id, { node }] of panels) {
  node.id = `panel-${id}`;
  node.setAttribute("role", "tabpanel");
  node.setAttribute("aria-labelledby", `tab-${id}`);
  main.append(node);
}

function select() {
  const asked = location.hash.slice(1);
  const chosen = panels.has(asked) ? asked : ids[0];
  links.forEach((link, index) => {
    const on = ids[index] === chosen;
    link.setAttribute("aria-selected", String(on));
    link.tabIndex = on ? 0 : -1;
    panels.get(ids[index]).node.hidden = !on;
    if (on) strip.scrollLeft = link.offsetLeft - (strip.clientWidth - link.offsetWidth) / 2;
  });
  document.title = `${panels.get(chosen).title} · albert`;
}
addEventListener("hashchange", select);

// The key, behind a word in the corner: most servers want none.
const keyInput = el("input", { id: "key", type: "password", autocomplete: "off", spellcheck: "false", "aria-describedby": "key-error" });
const keyError = el("p.error", { id: "key-error", role: "alert", hidden: true });
const keyForm = el(
  "form",
  {},
  el("label", { for: "key" }, "API key", el("span.hint", {}, " kept until this tab closes")),
  el("div.together", {}, keyInput, el("button.primary", { type: "submit" }, "Use")),
  keyError,
);
const keyPanel = el("details.key", {}, el("summary", {}, "API key"), keyForm);
keyInput.value = key();
keyPanel.classList.toggle("set", Boolean(key()));
keyForm.addEventListener("submit", (event) => {
  event.preventDefault();
  keyPanel.classList.toggle("set", Boolean(key(keyInput.value.trim())));
  keyError.hidden = true;
  keyInput.removeAttribute("aria-invalid");
  keyPanel.open = false;
  keyPanel.querySelector("summary").focus();
  load();
});
keyPanel.addEventListener("keydown", (event) => {
  if (event.key !== "Escape") return;
  keyPanel.open = false;
  keyPanel.querySelector("summary").focus();
});

const THEMES = ["auto", "light", "dark"];
const theme = el("button.quiet", { type: "button", id: "theme" });
function setTheme(name) {
  if (name === "auto") delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = name;
  theme.textContent = `Theme: ${name}`;
  stored("localStorage", "albert-theme", name === "auto" ? "" : name);
}
theme.addEventListener("click", () => {
  const now = document.documentElement.dataset.theme ?? "auto";
  setTheme(THEMES[(THEMES.indexOf(now) + 1) % THEMES.length]);
});
setTheme(document.documentElement.dataset.theme ?? "auto");
document.getElementById("controls").append(keyPanel, theme);

async function load() {
  try {
    const { models, missing } = await get("v1/models");
    Object.assign(known, { models: models ?? [], missing: missing ?? [], problem: null });
    banner.hidden = true;
  } catch (problem) {
    known.problem = problem;
    if (problem.status === 401 || problem.status === 403) app.wantKey(problem);
    else {
      banner.replaceChildren(el("span", {}, problem.message), el("button.quiet", { type: "button", onclick: load }, "Try again"));
      banner.hidden = false;
    }
  }
  for (const { update } of panels.values()) update();
}

select();
load();
