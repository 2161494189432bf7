import { bars, leftOut, note } from "../bars.js";
import { el } from "../dom.js";
import { annotated } from "../text.js";

const MASK = "[MASK]";

// `▁` begins a word; a piece without it goes on with the word before.
const word = (piece) => (piece.startsWith("▁") ? piece.slice(1) || "␣" : piece);
const listed = (piece) => (piece.startsWith("▁") || !/^[\p{L}\p{N}]/u.test(piece) ? word(piece) : `…${piece}`);

function maskButton(input) {
  const insert = () => {
    input.focus();
    // Not `value`: so that the browser's undo still works.
    if (!document.execCommand("insertText", false, MASK)) input.setRangeText(MASK, input.selectionStart, input.selectionEnd, "end");
  };
  return el("button.quiet", { type: "button", onclick: insert }, `Insert ${MASK}`);
}

export default {
  id: "fill-mask",
  title: "Fill the mask",
  route: "fill-mask",
  lead: "The likeliest pieces for every [MASK] of a text.",
  fields: [
    { name: "text", label: "Text", rows: 4, after: maskButton },
    { name: "top", label: "Show", option: true, choices: ["5", "10", "20"], initial: "5" },
  ],
  examples: [
    { name: "River", values: { text: "The ship sailed across the [MASK]." } },
    { name: "Born", values: { text: "She was born in [MASK] in 1902, the daughter of a doctor." } },
    { name: "Two masks", values: { text: "He played [MASK] for the national [MASK] in the final." } },
    { name: "After an emoji", values: { text: "🎻 The café's orchestra played a [MASK] by Dvořák." } },
  ],
  body: ({ text, top }) => ({ text, top: Number(top) }),
  show(reply, { text }) {
    const [row] = reply.results;
    const view = annotated(text, {
      model: reply.model,
      marks: row.masks.map((mask) => ({
        start: mask.offsets[0],
        end: mask.offsets[1],
        strong: true,
        shown: word(mask.candidates[0]?.piece ?? MASK),
      })),
    });
    const nodes = [view.node];
    row.masks.forEach((mask, index) => {
      const list = bars(
        mask.candidates.map(({ piece, id, probability }, rank) => ({
          name: listed(piece),
          title: `${piece}, id ${id}`,
          share: probability,
          picked: rank === 0,
          onpick: () => view.show(index, word(piece)),
          onlook: (on) => view.light(on ? index : -1),
        })),
      );
      nodes.push(el("div.group", {}, row.masks.length > 1 ? el("h3", {}, `Mask ${index + 1}`) : null, list));
    });
    nodes.push(...leftOut(row));
    if (row.windowed) nodes.push(note("The text is longer than the model reads: each mask was filled from the text around it."));
    return { nodes, said: view.node.textContent };
  },
};
