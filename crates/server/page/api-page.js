// The OpenAPI document for people: every route, what it takes, what it gives.

import { get } from "./api.js";
import { el, prose } from "./dom.js";

const main = document.getElementById("main");

try {
  show(await get("openapi.json"));
} catch (problem) {
  main.replaceChildren(el("div.problem", { role: "alert" }, el("strong", {}, problem.title ?? "The page failed"), el("p", {}, problem.message)));
}

function show(document) {
  const routes = Object.entries(document.paths).flatMap(([path, item]) =>
    Object.entries(item).map(([method, operation]) => ({ path, method, operation })),
  );
  const groups = (document.tags ?? []).map(({ name, description }) => ({
    name,
    description,
    routes: routes.filter(({ operation }) => operation.tags?.includes(name)),
  }));
  const index = el(
    "nav",
    { "aria-label": "Routes" },
    groups.map((group) => el("p.routes", {}, el("b", {}, `${group.name} `), group.routes.flatMap(({ path }) => [el("a", { href: `#${path}` }, path), " "]))),
  );
  main.replaceChildren(
    el("div.lead", {}, el("p", {}, prose(document.info.description))),
    index,
    ...groups.map((group) => section(group, document.components.schemas)),
  );
  // The address may name a route that was not there when the page opened.
  if (location.hash) window.document.getElementById(decodeURIComponent(location.hash.slice(1)))?.scrollIntoView();
}

function section(group, schemas) {
  return el(
    "section.panel",
    {},
    el("div.lead", {}, el("h2", {}, group.name), el("p", {}, group.description ?? "")),
    group.routes.map((route) => article(route, schemas)),
  );
}

function article({ path, method, operation }, schemas) {
  const request = operation.requestBody?.content?.["application/json"]?.schema;
  const [status, reply] = Object.entries(operation.responses).find(([code]) => code.startsWith("2")) ?? [];
  const [type, content] = Object.entries(reply?.content ?? {})[0] ?? [];
  const refusals = Object.entries(operation.responses).filter(([code]) => !code.startsWith("2"));
  return el(
    "article.route",
    { id: path },
    el("h3", {}, el("code", {}, `${method.toUpperCase()} ${path}`)),
    el("p", {}, prose(operation.description ?? operation.summary ?? "")),
    request ? [el("h4", {}, "Takes"), fields(request, schemas)] : null,
    el("h4", {}, `Gives, with ${status}`),
    el("p", {}, prose(reply?.description ?? "")),
    content?.schema && type === "application/json" ? fields(content.schema, schemas) : el("p.hint", {}, type ?? ""),
    refusals.length
      ? el("details.fold", {}, el("summary", {}, "Refusals"), el("ul", {}, refusals.map(([code, { description }]) => el("li", {}, `${code}: `, prose(description)))))
      : null,
  );
}

/** The schema that a reference names. */
function named(schema, schemas) {
  return schema.$ref ? schemas[schema.$ref.split("/").pop()] : schema;
}

/** A table of an object's fields; below it those of the objects within. */
function fields(schema, schemas, seen = new Set()) {
  const whole = named(schema, schemas);
  if (whole.type === "array") return [el("p.hint", {}, "A list of:"), fields(whole.items, schemas, seen)];
  const choices = whole.oneOf ?? whole.anyOf;
  if (choices) return choices.flatMap((choice, at) => [at ? el("p.hint", {}, "or") : null, fields(choice, schemas, seen)]);
  if (!whole.properties) return el("p", {}, el("code", {}, kind(schema, schemas)), " ", prose(whole.description ?? ""));
  const needed = new Set(whole.required);
  const rows = Object.entries(whole.properties).map(([name, property]) =>
    el(
      "tr",
      {},
      el("th", { scope: "row" }, el("code", {}, name)),
      el("td", {}, kind(property, schemas), needed.has(name) ? "" : el("span.hint", {}, " optional")),
      el("td", {}, prose(property.description ?? named(property, schemas).description ?? "")),
    ),
  );
  const table = el("div.scroll", {}, el("table.fields", {}, el("tbody", {}, rows)));
  const inner = Object.entries(whole.properties).flatMap(([name, property]) => {
    const target = objectIn(property, schemas);
    if (!target || seen.has(target)) return [];
    seen.add(target);
    return [el("p.hint", {}, "Each of ", el("code", {}, name), ":"), fields({ $ref: target }, schemas, seen)];
  });
  return [table, ...inner];
}

/** The reference to an object with fields within a property, if there is one. */
function objectIn(property, schemas) {
  if (property.$ref) return schemas[property.$ref.split("/").pop()]?.properties ? property.$ref : null;
  if (property.items) return objectIn(property.items, schemas);
  const within = (property.oneOf ?? property.anyOf ?? []).map((choice) => objectIn(choice, schemas));
  return within.find(Boolean) ?? null;
}

function kind(schema, schemas) {
  if (schema.$ref) {
    const whole = named(schema, schemas);
    return whole.enum || whole.oneOf ? kind(whole, schemas) : schema.$ref.split("/").pop();
  }
  if (schema.enum) return schema.enum.map((value) => JSON.stringify(value)).join(" or ");
  if (schema.type === "array") return `list of ${kind(schema.items, schemas)}`;
  const choices = (schema.oneOf ?? schema.anyOf ?? []).filter((choice) => choice.type !== "null");
  if (choices.length) return choices.map((choice) => kind(choice, schemas)).join(" or ");
  const types = [schema.type].flat().filter((type) => type && type !== "null");
  const least = schema.minimum !== undefined ? ` from ${schema.minimum}` : "";
  const most = schema.maximum !== undefined ? ` to ${schema.maximum}` : "";
  return (types.join(" or ") || "anything") + least + most;
}
