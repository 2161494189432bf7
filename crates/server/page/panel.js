// A task's panel: examples, a form, and what came of it. The tabs say only what is theirs:
// fields, examples, a request's body, and how a reply is shown.

import { curl, fitting, post, Problem } from "./api.js";
import { count, duration, el, prose } from "./dom.js";

// What becomes of a text that is longer than the model reads; every model's task has a way of its own.
const LONG = {
  name: "truncate",
  label: "Long texts",
  option: true,
  choices: [["", "as usual"], ["end", "beginning only"], ["windows", "in windows"], ["error", "refuse"]],
};

export function taskPanel(tab, app) {
  const long = tab.pairs ? { ...LONG, choices: LONG.choices.filter(([value]) => value !== "windows") } : LONG;
  const given = tab.whole ? tab.fields : [...tab.fields, long];
  const fields = new Map(given.map((field) => [field.name, makeField(tab, field)]));
  const chooser = el("select", { id: `${tab.id}-model`, name: "model" });
  const modelError = errorFor(`${tab.id}-model`);
  const modelRow = el("div.field.inline", { hidden: true }, el("label", { for: `${tab.id}-model` }, "Model"), chooser, modelError);
  const missing = el("p.note", { hidden: true });
  const run = el("button.primary", { type: "submit" }, "Run");
  const cancel = el("button.quiet", { type: "button", hidden: true, onclick: () => stop() }, "Cancel");
  const waiting = el("span.hint", {}, hint());
  const result = el("div.result", { "aria-busy": "false" }, empty());
  const said = el("p.unseen", { role: "status" });
  let running = null;

  const examples = tab.examples.map((example) =>
    el("button.example", {
      type: "button",
      onclick: () => {
        fill(example.values);
        if (example.model && [...chooser.options].some((option) => option.value === example.model)) choose(example.model);
        form.requestSubmit();
      },
    }, example.name),
  );
  const plain = [...fields.values()].filter((field) => !field.option);
  const options = [...fields.values()].filter((field) => field.option);
  const form = el(
    "form",
    { novalidate: true },
    el("div.examples", { role: "group", "aria-label": "Examples" }, el("span.hint", {}, "Examples"), examples),
    plain.map((field) => field.node),
    el("div.options", {}, modelRow, options.map((field) => field.node)),
    missing,
    el("div.actions", {}, run, cancel, waiting),
  );
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    submit();
  });
  form.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) {
      event.preventDefault();
      form.requestSubmit();
    } else if (event.key === "Escape" && running) {
      stop();
    }
  });
  chooser.addEventListener("change", () => choose(chooser.value));

  const node = el(
    "section.panel",
    {},
    el("div.lead", {}, el("h2", {}, tab.title), el("p", {}, tab.lead)),
    el("div.split", {}, form, el("div.side", {}, result, said)),
  );
  fill(tab.examples[0].values);

  function fill(values) {
    for (const field of fields.values()) field.set(values[field.name] ?? field.initial);
    clear();
  }

  function choose(name) {
    chooser.value = name;
    const model = app.models().find((other) => other.name === name);
    for (const field of fields.values()) field.opensFor(model);
  }

  function clear() {
    for (const field of fields.values()) field.error("");
    showError(modelError, chooser, "");
  }

  function stop() {
    running?.abort();
    running = null;
    busy(false);
    result.replaceChildren(empty("Cancelled."));
  }

  let slow = 0;
  function busy(now) {
    clearInterval(slow);
    cancel.hidden = !now;
    waiting.textContent = hint();
    result.setAttribute("aria-busy", String(now));
    const started = performance.now();
    // Quick replies, nearly all, pass without a word.
    if (now) {
      slow = setInterval(() => {
        const seconds = Math.floor((performance.now() - started) / 1000);
        if (seconds) waiting.textContent = `Waiting for ${count(seconds, "second")}`;
      }, 250);
    }
  }

  async function submit() {
    clear();
    const values = Object.fromEntries([...fields].map(([name, field]) => [name, field.value()]));
    const lacking = [...fields.values()].find((field) => field.required && !field.filled());
    if (lacking) {
      lacking.error("This is empty.");
      lacking.focus();
      return;
    }
    running?.abort();
    const mine = (running = new AbortController());
    busy(true);
    const model = chooser.value;
    const body = tab.body(values);
    if (model) body.model = model;
    if (values.truncate) body.truncate = values.truncate;
    try {
      const { reply, took } = await post(tab.route, body, mine.signal);
      if (running !== mine) return;
      const shown = tab.show(reply, values, app);
      result.replaceChildren(...shown.nodes, about(tab.route, body, reply, took));
      shown.ready?.();
      said.textContent = `${shown.said}. ${reply.model}, ${duration(reply.latency_ms)}.`;
      app.reached();
    } catch (problem) {
      if (running === mine && problem.name !== "AbortError") fail(problem, values);
    } finally {
      if (running === mine) {
        running = null;
        busy(false);
      }
    }
  }

  function fail(problem, values) {
    if (!(problem instanceof Problem)) throw problem;
    said.textContent = "";
    if (problem.status === 401 || problem.status === 403) app.wantKey(problem);
    const message = told(problem);
    const field = fields.get(problem.field);
    if (field || problem.field === "model") {
      const row = problem.row !== undefined && field ? field.row(problem.row, values[problem.field]) : "";
      if (field) field.error(row + message);
      else showError(modelError, chooser, message);
      result.replaceChildren(empty("Not answered: see the message at the field."));
      (field ?? { focus: () => chooser.focus() }).focus();
    } else {
      result.replaceChildren(
        el("div.problem", { role: "alert" }, el("strong", {}, problem.title), problem.detail ? el("p", {}, prose(message)) : null, origin(problem)),
      );
    }
  }

  /** The server's models changed. */
  function update() {
    const before = chooser.value;
    const fit = fitting(app.models(), tab.route);
    chooser.replaceChildren(...fit.map((model) => el("option", { value: model.name }, model.name)));
    modelRow.hidden = fit.length < 2;
    const lack = app.missing().find((other) => [tab.route, tab.id].includes(other.task));
    missing.hidden = fit.length > 0 || !lack;
    missing.replaceChildren(...prose(lack ? `No model here does this. ${lack.how}` : ""));
    if (fit.length) choose(fit.some((model) => model.name === before) ? before : fit[0].name);
  }

  return { node, update };
}

const apple = /Mac|iPhone|iPad/.test(navigator.userAgent);
const hint = () => (apple ? "⌘ Enter" : "Ctrl + Enter");
const empty = (words = "The answer appears here.") => el("p.empty", {}, words);

function told(problem) {
  const wait = problem.retryAfter ? ` Try again in ${count(problem.retryAfter, "second")}.` : "";
  return `${problem.detail || problem.title}${wait}`;
}

function origin(problem) {
  const parts = [problem.status ? `Status ${problem.status}` : "", problem.requestId ? `request ${problem.requestId}` : ""].filter(Boolean);
  return parts.length ? el("p.hint", {}, parts.join(", ")) : null;
}

/** The last line of a result: who answered, how fast, and the reply for those who build on it. */
function about(route, body, reply, took) {
  const raw = el("pre", { tabindex: 0, "aria-label": "Reply" });
  const details = el("details.raw", {}, el("summary", {}, "JSON"), raw);
  details.addEventListener("toggle", () => {
    if (details.open && !raw.textContent) raw.textContent = JSON.stringify(reply, null, 1);
  });
  const copy = el("button.quiet", {
    type: "button",
    title: "Copies this request as a curl command",
    onclick: async () => {
      try {
        await navigator.clipboard.writeText(curl(route, body));
        copy.textContent = "Copied";
      } catch {
        // Without TLS a browser may refuse the clipboard: then it can be copied by hand.
        raw.textContent = curl(route, body);
        details.open = true;
      }
      setTimeout(() => (copy.textContent = "Copy curl"), 1500);
    },
  }, "Copy curl");
  return el(
    "div.about",
    {},
    el("span.by", {}, el("b.model", {}, reply.model), el("span.latency", { title: "In the server" }, duration(reply.latency_ms)), el("span", { title: "From here to the server and back" }, `${duration(took)} round trip`)),
    copy,
    details,
  );
}

function errorFor(id) {
  return el("p.error", { id: `${id}-error`, role: "alert", hidden: true });
}

function showError(node, input, message) {
  node.replaceChildren(...prose(message));
  node.hidden = !message;
  if (message) {
    input.setAttribute("aria-invalid", "true");
    input.setAttribute("aria-describedby", node.id);
  } else {
    input.removeAttribute("aria-invalid");
    input.removeAttribute("aria-describedby");
  }
}

function makeField(tab, field) {
  const id = `${tab.id}-${field.name}`;
  const attributes = { id, name: field.name, autocomplete: "off", placeholder: field.placeholder };
  let input;
  if (field.choices) {
    input = el("select", attributes, field.choices.map((choice) => (Array.isArray(choice) ? choice : [choice, choice])).map(([value, name]) => el("option", { value }, name)));
  } else if (field.line) {
    input = el("input", { ...attributes, type: "text" });
  } else {
    input = el("textarea", { ...attributes, rows: field.rows ?? 3 });
  }
  const error = errorFor(id);
  const label = el("label", { for: id }, field.label, field.hint ? el("span.hint", {}, ` ${field.hint}`) : null);
  const after = field.after?.(input);
  // An optional field that few need waits behind its label.
  const fold = field.folded ? el("details.fold", {}, el("summary", {}, field.label), el("div", {}, input)) : null;
  if (fold) input.setAttribute("aria-label", field.label);
  const node = el(`div.field${field.option ? ".inline" : ""}`, {}, fold ?? [label, input], after, error);
  return {
    name: field.name,
    node,
    option: field.option,
    required: !field.optional && !field.choices,
    initial: field.initial ?? "",
    // A lone half of a surrogate pair has no place in JSON.
    value: () => input.value.toWellFormed?.() ?? input.value,
    set(value) {
      input.value = value;
      if (fold) fold.open = Boolean(value) || fold.open;
    },
    filled: () => input.value.trim() !== "",
    opensFor(model) {
      if (fold && model && field.opensFor?.(model)) fold.open = true;
    },
    focus: () => input.focus(),
    error: (message) => showError(error, input, message),
    /** `Line 3: `, and the line selected, where rows are lines. */
    row(row, value) {
      const line = field.lineOf?.(row, value);
      if (line === undefined) return "";
      const lines = value.split("\n");
      const from = lines.slice(0, line).reduce((sum, other) => sum + other.length + 1, 0);
      input.setSelectionRange(from, from + lines[line].length);
      return `Line ${line + 1}: `;
    },
  };
}
