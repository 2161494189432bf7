import { bars, leftOut, verdict } from "../bars.js";
import { annotated } from "../text.js";

// Commas or lines, as people write lists.
const list = (labels) => labels.split(/[,\n]/).map((label) => label.trim()).filter(Boolean);

export default {
  id: "zero-shot",
  title: "Zero-shot",
  route: "zero-shot",
  // The text stands in a pair with every class, and a pair is not read in windows.
  pairs: true,
  lead: "Classes that nobody trained for: name them, and the text is sorted.",
  fields: [
    { name: "text", label: "Text", rows: 4 },
    { name: "labels", label: "Classes", hint: "with commas between", line: true },
    { name: "hypothesis", label: "Hypothesis", hint: "optional, {} is the class", line: true, optional: true, placeholder: "This text is about {}." },
  ],
  examples: [
    { name: "Topic", values: { text: "She plays the violin in an orchestra 🎻", labels: "music, politics, sports, cooking" } },
    { name: "Season", values: { text: "People in coats are walking through the snow.", labels: "winter, summer", hypothesis: "It is {}." } },
    { name: "Mood", values: { text: "I was charged twice and would like my money back.", labels: "angry, happy", hypothesis: "The customer is {}." } },
  ],
  body: ({ text, labels, hypothesis }) => ({ text, labels: list(labels), ...(hypothesis.trim() ? { hypothesis } : {}) }),
  show(reply, { text }) {
    const [row] = reply.results;
    return {
      nodes: [
        verdict(row.label, row.confidence),
        bars(row.labels.map(({ label, probability }) => ({ name: label, share: probability }))),
        ...leftOut(row),
        annotated(text, { model: reply.model }).node,
      ],
      said: `${row.label}, ${Math.round(100 * row.confidence)} percent`,
    };
  },
};
