import { isInference } from "../api.js";
import { bars, leftOut, verdict } from "../bars.js";
import { words } from "../dom.js";
import { annotated } from "../text.js";

export default {
  id: "sentiment",
  title: "Sentiment",
  route: "classify",
  lead: "Which class a text belongs to: by default, whether a sentence about a film is positive or negative.",
  fields: [
    { name: "text", label: "Text", rows: 4 },
    { name: "text_pair", label: "Second text", rows: 2, optional: true, folded: true, opensFor: isInference },
    { name: "top", label: "Show", option: true, choices: ["5", "10", "50"], initial: "5" },
  ],
  examples: [
    { name: "Praise", values: { text: "A warm, funny and beautifully acted film that stays with you long after the café scene 😀." } },
    { name: "Complaint", values: { text: "Two hours of my life that I will never get back." } },
    { name: "Both at once", values: { text: "The acting is superb, but the story goes nowhere." } },
    { name: "An intent", model: "intents", values: { text: "Wake me up at six tomorrow morning." } },
    { name: "An inference", model: "nli", values: { text: "A man is playing a guitar on stage.", text_pair: "A musician is performing." } },
  ],
  body: ({ text, text_pair, top }) => ({ text, top: Number(top), ...(text_pair.trim() ? { text_pair } : {}) }),
  show(reply, { text, text_pair }) {
    const [row] = reply.results;
    const nodes = [];
    let said;
    if (row.label !== undefined) {
      nodes.push(verdict(words(row.label), row.confidence));
      said = `${words(row.label)}, ${Math.round(100 * row.confidence)} percent`;
    } else if (row.score !== undefined) {
      nodes.push(verdict(row.score.toFixed(3)));
      said = `Score ${row.score.toFixed(3)}`;
    } else {
      const assigned = (row.assigned ?? []).map(words).join(", ") || "none of the classes";
      nodes.push(verdict(assigned));
      said = assigned;
    }
    nodes.push(bars((row.labels ?? []).map(({ label, probability }) => ({ name: words(label), title: label, share: probability }))));
    nodes.push(...leftOut(row));
    nodes.push(annotated(text, { model: reply.model }).node);
    if (text_pair.trim()) nodes.push(annotated(text_pair, { model: reply.model, label: "Second text" }).node);
    return { nodes, said };
  },
};
