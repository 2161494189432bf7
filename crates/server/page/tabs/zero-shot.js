import { bars, verdict } from "../bars.js";
import { annotated } from "../text.js";

// Commas or lines, as people write lists.
const list = (labels) => labels.split(/[,\n]/).map((label) => label.trim()).filter(Boolean);

export default {
  id: "zero-shot",
  title: "Zero-shot",
  route: "zero-shot",
  lead: "Classes that nobody trained for: name them, and the text is sorted.",
  fields: [
    { name: "text", label: "Text", rows: 4 },
    { name: "labels", label: "Classes", hint: "with commas between", line: true },
    { name: "hypothesis", label: "Hypothesis", hint: "optional, {} is the class", line: true, optional: true, placeholder: "This text is about {}." },
  ],
  examples: [
    { name: "News", values: { text: "The team won the match with a goal in the last minute.", labels: "sport, politics, cooking, science" } },
    { name: "Support", values: { text: "I was charged twice for the same order and would like my money back.", labels: "payment, delivery, praise", hypothesis: "This message is about {}." } },
    { name: "Recipe", values: { text: "Whisk the eggs with sugar, fold in the flour and bake for half an hour 🍰.", labels: "cooking, travel, music" } },
  ],
  body: ({ text, labels, hypothesis }) => ({ text, labels: list(labels), ...(hypothesis.trim() ? { hypothesis } : {}) }),
  show(reply, { text }) {
    const [row] = reply.results;
    return {
      nodes: [
        verdict(row.label, row.confidence),
        bars(row.labels.map(({ label, probability }) => ({ name: label, share: probability }))),
        annotated(text, { model: reply.model }).node,
      ],
      said: `${row.label}, ${Math.round(100 * row.confidence)} percent`,
    };
  },
};
