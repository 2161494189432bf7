// What the server is asked, what it answers, and how it refuses.

const KEY = "albert-key";

/** The API key, for as long as the browser's tab lives. */
export const key = {
  get() {
    try {
      return sessionStorage.getItem(KEY) ?? "";
    } catch {
      return "";
    }
  },
  set(value) {
    try {
      if (value) sessionStorage.setItem(KEY, value);
      else sessionStorage.removeItem(KEY);
    } catch {
      // Storage is off: requests go without a key.
    }
  },
};

/** A refusal: RFC 9457's fields, or our words where nothing came back. */
export class Problem extends Error {
  constructor({ title, detail, status = 0, field, row, request_id, retryAfter }) {
    super(detail || title);
    Object.assign(this, { title, detail, status, field, row, requestId: request_id, retryAfter });
  }
}

// Relative to the page, so that it works behind a proxy's path as well.
const url = (path) => new URL(path, document.baseURI);

async function ask(path, options) {
  const headers = { ...options.headers };
  if (key.get()) headers.Authorization = `Bearer ${key.get()}`;
  const started = performance.now();
  let response;
  try {
    response = await fetch(url(path), { ...options, headers, cache: "no-store" });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Problem({
      title: "The server cannot be reached",
      detail: `Nothing answers at ${location.host}. Is albert serve still running?`,
    });
  }
  if (!response.ok) throw await refusal(response);
  try {
    return { reply: await response.json(), took: performance.now() - started };
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Problem({ title: "The reply is not JSON", status: response.status });
  }
}

async function refusal(response) {
  let told = {};
  try {
    told = await response.json();
  } catch {
    // A proxy's page, say; the status is all there is.
  }
  return new Problem({
    title: told.title || response.statusText || `Status ${response.status}`,
    detail: told.detail,
    status: response.status,
    field: told.field,
    row: told.row,
    request_id: told.request_id ?? response.headers.get("x-request-id"),
    retryAfter: Number(response.headers.get("retry-after")) || undefined,
  });
}

/** Asks a task; `{ reply, took }` with the milliseconds there and back. */
export function post(route, body, signal) {
  return ask(`v1/${route}`, {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify(body),
    signal,
  });
}

/** Gets a JSON document of the server. */
export const get = async (path) => (await ask(path, {})).reply;

/** The same request for a terminal. The key stays in the environment, out of shells' histories. */
export function curl(route, body) {
  const quoted = JSON.stringify(body).replaceAll("'", "'\\''");
  const auth = key.get() ? ` -H "Authorization: Bearer $ALBERT_API_KEY"` : "";
  return `curl -s '${url(`v1/${route}`)}' -H 'Content-Type: application/json'${auth} -d '${quoted}'`;
}

const HEADS = {
  classify: /SequenceClassification/,
  "zero-shot": /SequenceClassification/,
  answer: /QuestionAnswering/,
  tag: /TokenClassification/,
  "fill-mask": /PreTraining|MaskedLM/,
  // Any encoder has vectors and a tokenizer.
  similarity: /./,
  tokenize: /./,
};

export const isDefault = (model, route) => (model.default_for ?? []).some((name) => name.split("/").pop() === route);

/** Whether it judges if one text follows from another. */
export const isInference = (model) => (model.labels ?? []).some((label) => /^entail/i.test(label));

/** The models that can answer on a route, its default first. */
export function fitting(models, route) {
  const fits = (model) =>
    isDefault(model, route) ||
    (HEADS[route]?.test(model.architecture ?? "") && (route !== "zero-shot" || isInference(model)));
  return models.filter(fits).sort((a, b) => isDefault(b, route) - isDefault(a, route));
}
