import { count, el, prose } from "../dom.js";

const millions = (number) => (number >= 1e6 ? `${(number / 1e6).toFixed(1)} million` : number.toLocaleString("en"));

// Long names in one word may break where a part begins.
const breakable = (name) => name.split(/(?<=[a-z])(?=[A-Z])/).flatMap((part, index) => (index ? [el("wbr"), part] : [part]));

/** What answers here, and how to get what does not. */
export function modelsPanel(app) {
  const list = el("div.models");
  const again = el("button.quiet", { type: "button", onclick: () => app.load() }, "Ask again");
  const node = el(
    "section.panel",
    {},
    el("div.lead", {}, el("h2", {}, "Models"), el("p", {}, "What this server has loaded, and what answers where no model is named. "), again),
    list,
  );
  function update() {
    list.replaceChildren(
      ...app.models().map(card),
      ...app.missing().map(({ task, how }) => el("article.missing", {}, el("h3", {}, task), el("p", {}, "Not loaded. ", prose(how)))),
    );
    if (!list.childNodes.length) list.append(el("p.empty", {}, app.problem()?.message ?? "Asking the server."));
  }
  return { node, update };
}

function card(model) {
  const labels = model.labels ?? [];
  const facts = [
    ["Task", model.task],
    ["Architecture", model.architecture],
    ["Parameters", model.parameters === undefined ? undefined : millions(model.parameters)],
    ["Longest row", model.max_length === undefined ? undefined : count(model.max_length, "piece")],
    ["Precision", model.precision],
    ["Answers by default", (model.default_for ?? []).join(", ") || undefined],
  ].filter(([, value]) => value !== undefined && value !== null);
  return el(
    "article",
    {},
    el("h3", {}, model.name),
    el("dl", {}, facts.map(([name, value]) => el("div", {}, el("dt", {}, name), el("dd", {}, breakable(String(value)))))),
    labels.length ? el("details.fold", {}, el("summary", {}, count(labels.length, "label")), el("p.labels", {}, labels.join(", "))) : null,
  );
}
