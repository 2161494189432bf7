// A text as the model sees it: with marks where answers stand, and its tokens under the pointer.

import { post } from "./api.js";
import { el } from "./dom.js";
import { segments } from "./offsets.js";

// Beyond this a page of spans is slower than it is useful.
const MOST_TOKENS = 6000;

/**
 * `marks` are `{ start, end, label?, strong?, shown? }` in scalar values; `shown` stands in the
 * text's place. The tokens are asked for when somebody first looks: `model` reads the text.
 */
export function annotated(text, { marks = [], model, label = "Text", tokens } = {}) {
  const tip = el("div.tip", { role: "status", hidden: true });
  const body = el("div.body", { tabindex: 0, role: "group", "aria-label": `${label}. Arrow keys go through its tokens.` });
  // The tip stands outside of what scrolls, so that it is never cut off.
  const node = el("div.text", {}, body, tip);
  const sorted = marks.map((mark, index) => ({ ...mark, index })).sort((a, b) => a.start - b.start);
  let known = tokens ?? [];
  let asked = Boolean(tokens);
  let active = -1;

  function draw() {
    body.replaceChildren();
    let current = -1;
    let into = body;
    for (const piece of segments(text, sorted, known)) {
      if (piece.mark !== current) {
        current = piece.mark;
        into = current < 0 ? body : body.appendChild(markOf(sorted[current]));
      }
      const shown = current < 0 ? undefined : sorted[current].shown;
      if (shown !== undefined && into.dataset.shown) continue;
      const span = el("span", piece.tokens.length ? { "data-tokens": piece.tokens.join(" "), class: piece.tokens[0] % 2 ? "odd" : null } : {}, shown ?? piece.text);
      if (shown !== undefined) into.dataset.shown = "yes";
      // Before the label, which is the mark's last child.
      into.insertBefore(span, into === body ? null : into.querySelector(":scope > .label"));
    }
  }

  function markOf(mark) {
    return el(
      "mark",
      { class: mark.strong ? "strong" : null, "data-mark": mark.index },
      mark.label ? el("span.label", {}, mark.label) : null,
    );
  }

  const spansOf = (index) => [...body.querySelectorAll("[data-tokens]")].filter((span) => span.dataset.tokens.split(" ").includes(String(index)));

  function activate(index) {
    for (const span of body.querySelectorAll(".on")) span.classList.remove("on");
    active = index;
    tip.hidden = index < 0;
    node.dispatchEvent(new CustomEvent("token", { detail: index }));
    if (index < 0) return;
    const spans = spansOf(index);
    if (!spans.length) {
      tip.hidden = true;
      return;
    }
    for (const span of spans) span.classList.add("on");
    // A character may be several tokens; all of them are told.
    const all = spans[0].dataset.tokens.split(" ").map((i) => known[Number(i)]);
    tip.replaceChildren(
      ...all.map((token) =>
        el("div", {}, el("b", {}, token.piece), ` id ${token.id}, characters ${token.start}–${token.end}`),
      ),
    );
    place(spans[0]);
  }

  function place(span) {
    const around = node.getBoundingClientRect();
    const box = span.getClientRects()[0] ?? span.getBoundingClientRect();
    const room = around.width - tip.offsetWidth - 4;
    // By the style object: a strict policy forbids style attributes only.
    tip.style.left = `${Math.max(0, Math.min(room, box.left - around.left))}px`;
    tip.style.top = `${box.bottom - around.top + 4}px`;
  }

  async function look() {
    if (asked) return;
    asked = true;
    try {
      const { reply } = await post("tokenize", model ? { text, model } : { text });
      const found = reply.results[0].tokens;
      if (found.length > MOST_TOKENS) return;
      known = found;
      draw();
    } catch {
      // The result stands without its tokens; the next look tries again.
      asked = false;
    }
  }

  node.addEventListener("pointerenter", look);
  body.addEventListener("focus", look);
  body.addEventListener("blur", () => activate(-1));
  body.addEventListener("scroll", () => activate(-1));
  node.addEventListener("pointerleave", () => activate(-1));
  body.addEventListener("pointerover", (event) => {
    const span = event.target.closest("[data-tokens]");
    activate(span ? Number(span.dataset.tokens.split(" ")[0]) : -1);
  });
  body.addEventListener("keydown", (event) => {
    const visible = known.flatMap((token, index) => (token.end > token.start ? [index] : []));
    const here = visible.indexOf(active);
    const next = { ArrowRight: here + 1, ArrowLeft: here < 0 ? -1 : here - 1, Home: 0, End: visible.length - 1 }[event.key];
    if (event.key === "Escape") activate(-1);
    if (next === undefined || !visible.length || event.ctrlKey || event.altKey || event.metaKey) return;
    event.preventDefault();
    activate(visible[Math.max(0, Math.min(visible.length - 1, next))]);
  });
  draw();

  return {
    node,
    activate,
    /** Sets what stands in a mark's place. */
    show(index, shown) {
      sorted.find((mark) => mark.index === index).shown = shown;
      draw();
    },
    /** Lights a mark, or none of -1. */
    light(index) {
      for (const mark of body.querySelectorAll("mark")) mark.classList.toggle("lit", Number(mark.dataset.mark) === index);
    },
    /** Scrolls the text, not the page, to a mark. */
    reveal(index) {
      const mark = body.querySelector(`[data-mark="${index}"]`);
      if (mark) body.scrollTop += mark.getBoundingClientRect().top - body.getBoundingClientRect().top - body.clientHeight / 3;
    },
  };
}
