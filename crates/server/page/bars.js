// Probabilities as bars.

import { count, el, percent } from "./dom.js";

/**
 * A list of `{ name, share, title?, onpick?, onlook?, picked? }`; a row that can be picked is a
 * button. `onlook` hears true and false as the pointer or the focus comes and goes.
 */
export function bars(rows) {
  const list = el("ol.bars");
  for (const row of rows) {
    const fill = el("span.fill");
    fill.style.width = `${Math.max(0, Math.min(1, row.share)) * 100}%`;
    const inside = [
      el("span.name", { title: row.title }, row.name),
      el("span.track", { "aria-hidden": "true" }, fill),
      el("span.value", { title: String(row.share) }, percent(row.share)),
    ];
    const pick = () => {
      for (const other of list.querySelectorAll("button")) other.setAttribute("aria-pressed", "false");
      button.setAttribute("aria-pressed", "true");
      row.onpick();
    };
    const button = row.onpick ? el("button.row", { type: "button", "aria-pressed": String(Boolean(row.picked)), onclick: pick }, inside) : null;
    const item = el("li", {}, button ?? el("div.row", {}, inside));
    if (row.onlook) {
      for (const event of ["pointerenter", "focusin"]) item.addEventListener(event, () => row.onlook(true));
      for (const event of ["pointerleave", "focusout"]) item.addEventListener(event, () => row.onlook(false));
    }
    list.append(item);
  }
  return list;
}

/** What is said first and largest. */
export function verdict(name, share) {
  return el("p.verdict", {}, el("strong", {}, name), share === undefined ? null : ` ${percent(share)}`);
}

export const note = (...inside) => el("p.note", {}, ...inside);

/** What is said of a text of which the model did not read all, if it is one. */
export const leftOut = ({ truncated }) =>
  truncated ? [note(`The text is longer than the model reads: ${count(truncated, "piece")} left out.`)] : [];
