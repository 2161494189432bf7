// What the server is asked, what it answers, and how it refuses.

import { stored } from "./dom.js";

/** The API key, for as long as the browser's tab lives; set if a value is given. */
export const key = (value) => stored("sessionStorage", "albert-key", value);

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
  if (key()) headers.Authorization = `Bearer ${key()}`;
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
  // A proxy's page, say, is no JSON: then the status is all there is.
  const reply = await response.json().catch((error) => {
    if (error.name === "AbortError") throw error;
    return null;
  });
  if (response.ok && reply) return { reply, took: performance.now() - started };
  throw new Problem({
    title: response.ok ? "The reply is not JSON" : response.statusText || `Status ${response.status}`,
    request_id: response.headers.get("x-request-id"),
    ...reply,
    status: response.status,
    retryAfter: Number(response.headers.get("retry-after")),
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
  const auth = key() ? ` -H "Authorization: Bearer $ALBERT_API_KEY"` : "";
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

const isDefault = (model, route) => (model.default_for ?? []).some((name) => name.split("/").pop() === route);

/** Whether it judges if one text follows from another. */
export const isInference = (model) => (model.labels ?? []).some((label) => /^entail/i.test(label));

/** The models that can answer on a route, its default first. */
export function fitting(models, route) {
  const fits = (model) =>
    isDefault(model, route) ||
    (HEADS[route]?.test(model.architecture ?? "") && (route !== "zero-shot" || isInference(model)));
  return models.filter(fits).sort((a, b) => isDefault(b, route) - isDefault(a, route));
}
