import { note } from "../bars.js";
import { count, el } from "../dom.js";

// Blank lines are no sentences; a row of the request has a line of the field.
const lines = (text) => text.split("\n").flatMap((line, at) => (line.trim() ? [{ text: line.trim(), at }] : []));

export default {
  id: "similarity",
  title: "Similarity",
  route: "similarity",
  lead: "How alike sentences are: the cosine of their vectors, each with each.",
  fields: [
    { name: "text", label: "Sentences", hint: "one a line", rows: 8, lineOf: (row, value) => lines(value)[row]?.at },
  ],
  examples: [
    {
      name: "Two topics",
      values: {
        text: "A man is playing a guitar.\nSomeone plays an instrument on stage.\nThe musician tunes his guitar.\nThe stock market fell sharply today.\nShares lost a tenth of their value.\nInvestors sold in a panic.",
      },
    },
    {
      name: "Paraphrases",
      values: {
        text: "How do I reset my password?\nI forgot my login and need a new one.\nWhere is the nearest train station?\nHow can I get to the railway?",
      },
    },
    { name: "Accents and emoji", values: { text: "The café is open 😀\nThe cafe is open\nThe bar is closed 😢" } },
  ],
  body: ({ text }) => ({ text: lines(text).map((line) => line.text) }),
  show(reply, { text }) {
    const sentences = lines(text).map((line) => line.text);
    const matrix = reply.results;
    let closest = null;
    matrix.forEach((row, i) =>
      row.forEach((value, j) => {
        if (j > i && (!closest || value > closest.value)) closest = { i, j, value };
      }),
    );
    const readout = el("div.readout");
    const tell = ({ i, j, value }, lead = "") => {
      readout.replaceChildren(
        el("p.verdict", {}, lead, el("strong", {}, value.toFixed(3))),
        el("p", {}, `${i + 1}. ${sentences[i]}`),
        i === j ? "" : el("p", {}, `${j + 1}. ${sentences[j]}`),
      );
    };
    if (closest) tell(closest, "Most alike ");
    const said = closest
      ? `Most alike, ${closest.value.toFixed(2)}: ${sentences[closest.i]} And: ${sentences[closest.j]}`
      : "One sentence alone";
    const cut = (reply.truncated ?? []).flatMap((pieces, i) => (pieces ? [`${count(pieces, "piece")} of sentence ${i + 1}`] : []));
    const left = cut.length ? [note(`Longer than the model reads: ${cut.join(", ")} left out.`)] : [];
    return { nodes: [heatMap(sentences, matrix, tell), readout, ...left], said };
  },
};

function heatMap(sentences, matrix, tell) {
  // From the least alike to 1, so that what belongs together stands out even where all are alike.
  const least = Math.min(0.8, ...matrix.flat());
  const cells = [];
  const head = el("tr", {}, el("td"), sentences.map((sentence, j) => el("th", { scope: "col", title: sentence }, String(j + 1))));
  const rows = matrix.map((row, i) => {
    const made = row.map((value, j) => {
      const cell = el(
        "td",
        {
          tabindex: i === 0 && j === 0 ? 0 : -1,
          "aria-label": `${i + 1} with ${j + 1}: ${value.toFixed(2)}`,
        },
        value.toFixed(2),
      );
      cell.style.setProperty("--heat", `${Math.round((100 * (value - least)) / (1 - least))}%`);
      const look = () => tell({ i, j, value });
      cell.addEventListener("pointerenter", look);
      cell.addEventListener("click", look);
      cell.addEventListener("focus", look);
      return cell;
    });
    cells.push(made);
    return el("tr", {}, el("th", { scope: "row", title: sentences[i] }, el("span.number", {}, String(i + 1)), el("span.sentence", {}, sentences[i])), made);
  });
  const table = el(`table.heat${sentences.length > 8 ? ".dense" : ""}`, { "aria-label": "Similarities. Arrow keys move." }, el("thead", {}, head), el("tbody", {}, rows));
  table.addEventListener("keydown", (event) => {
    const step = { ArrowRight: [0, 1], ArrowLeft: [0, -1], ArrowDown: [1, 0], ArrowUp: [-1, 0] }[event.key];
    const i = cells.findIndex((row) => row.includes(event.target));
    if (!step || i < 0) return;
    event.preventDefault();
    const next = cells[i + step[0]]?.[cells[i].indexOf(event.target) + step[1]];
    if (!next) return;
    event.target.tabIndex = -1;
    next.tabIndex = 0;
    next.focus();
  });
  return el("div.scroll", {}, table);
}
