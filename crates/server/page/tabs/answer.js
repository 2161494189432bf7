import { bars, leftOut, note, verdict } from "../bars.js";
import { count, percent } from "../dom.js";
import { annotated } from "../text.js";

const BRIDGE =
  "The Forth Bridge is a cantilever railway bridge across the Firth of Forth in the east of Scotland, 9 miles west of central Edinburgh. " +
  "It was designed by Sir John Fowler and Sir Benjamin Baker. Work began in 1882 and the bridge was opened on 4 March 1890 by the Prince of Wales. " +
  "It is 2,467 metres long and carries the Edinburgh to Aberdeen line.";
const CAFE =
  "☕ The Café Odéon was opened by Zoë Müller in Zürich in 1911. 🎻 Every evening an orchestra of six played there, " +
  "and the regular guests called it the parlour 😀. It closed in 1972 and was opened anew as a smaller house.";

export default {
  id: "answer",
  title: "Question answering",
  route: "answer",
  lead: "The part of a text that answers a question, where it stands.",
  fields: [
    { name: "question", label: "Question", line: true },
    { name: "context", label: "Text", rows: 9 },
    { name: "top", label: "Show", option: true, choices: ["1", "3", "5"], initial: "3" },
  ],
  examples: [
    { name: "When", values: { question: "When was the bridge opened?", context: BRIDGE } },
    { name: "Who", values: { question: "Who designed the bridge?", context: BRIDGE } },
    { name: "Accents and emoji", values: { question: "Who opened the café?", context: CAFE } },
    { name: "No answer", values: { question: "What colour is the moon?", context: BRIDGE } },
  ],
  body: ({ question, context, top }) => ({ question, context, top: Number(top) }),
  show(reply, { context }) {
    const [row] = reply.results;
    const [best] = row.answers;
    const view = annotated(context, {
      model: reply.model,
      marks: row.answers.map((answer, index) => ({
        start: answer.start,
        end: answer.end,
        strong: index === 0 && !row.no_answer,
        label: row.answers.length > 1 ? String(index + 1) : null,
      })),
    });
    const none = row.no_answer || !best;
    const nodes = [none ? verdict("No answer in this text", row.no_answer_probability) : verdict(best.text, best.confidence), view.node];
    if (none && best) nodes.push(note("The likeliest all the same:"));
    nodes.push(
      bars(
        row.answers.map((answer, index) => ({
          name: `${row.answers.length > 1 ? `${index + 1} ` : ""}${answer.text}`,
          title: answer.text,
          share: answer.confidence,
          picked: index === 0,
          onpick: () => view.reveal(index),
          onlook: (on) => view.light(on ? index : -1),
        })),
      ),
    );
    if (!none && row.no_answer_probability > 0) nodes.push(note(`That the text has no answer: ${percent(row.no_answer_probability)}.`));
    nodes.push(...leftOut(row));
    if (row.windows > 1) nodes.push(note(`The text was read in ${count(row.windows, "window")}.`));
    return { nodes, said: none ? "No answer in this text" : `Answer: ${best.text}`, ready: () => view.reveal(0) };
  },
};
