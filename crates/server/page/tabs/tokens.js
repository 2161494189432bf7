import { count, el } from "../dom.js";
import { annotated } from "../text.js";

export default {
  id: "tokens",
  title: "Tokens",
  route: "tokenize",
  // Texts of any length are cut into pieces.
  whole: true,
  lead: "How a model cuts a text into pieces of its vocabulary.",
  fields: [
    { name: "text", label: "Text", rows: 4 },
    { name: "text_pair", label: "Second text", rows: 2, optional: true, folded: true },
  ],
  examples: [
    { name: "Long words", values: { text: "Unbelievable internationalisation of antidisestablishmentarianism." } },
    { name: "Accents and emoji", values: { text: "Ein Café in Zürich 😀 mit naïven Gästen: 👩‍👩‍👧 and 東京." } },
    { name: "A pair", values: { text: "The first sentence.", text_pair: "And the one that follows." } },
    { name: "A mask", values: { text: "Special pieces such as [MASK] stay whole." } },
  ],
  body: ({ text, text_pair }) => ({ text, ...(text_pair.trim() ? { text_pair } : {}) }),
  show(reply, { text, text_pair }, app) {
    const { tokens } = reply.results[0];
    // What is behind the first separator is the pair's, and counts its characters anew.
    const first = tokens.findIndex((token) => token.piece === "[SEP]" && token.end <= token.start);
    const cut = first < 0 ? tokens.length : first;
    const views = [{ view: annotated(text, { tokens: tokens.slice(0, cut) }), from: 0 }];
    if (text_pair.trim()) views.push({ view: annotated(text_pair, { tokens: tokens.slice(cut), label: "Second text" }), from: cut });
    const chips = tokens.map((token, index) =>
      el(
        `li${token.special ? ".special" : ""}`,
        { title: token.end > token.start ? `Characters ${token.start} to ${token.end}` : null },
        el("span.piece", {}, token.piece),
        el("span.id", {}, String(token.id)),
      ),
    );
    chips.forEach((chip, index) => {
      const { view, from } = views.findLast((other) => other.from <= index);
      chip.addEventListener("pointerenter", () => view.activate(index - from));
      chip.addEventListener("pointerleave", () => view.activate(-1));
    });
    for (const { view, from } of views) {
      view.node.classList.add("always");
      view.node.addEventListener("token", (event) =>
        chips.forEach((chip, index) => chip.classList.toggle("on", event.detail >= 0 && index === from + event.detail)),
      );
    }
    const longest = app.models().find((model) => model.name === reply.model)?.max_length;
    return {
      nodes: [
        el("p.verdict", {}, el("strong", {}, count(tokens.length, "piece")), longest ? ` of ${longest.toLocaleString("en")} at most` : ""),
        ...views.map(({ view }) => view.node),
        el("ol.chips", {}, chips),
      ],
      said: count(tokens.length, "piece"),
    };
  },
};
