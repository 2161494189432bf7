import { bars, leftOut, note } from "../bars.js";
import { count, words } from "../dom.js";
import { annotated } from "../text.js";

export default {
  id: "tag",
  title: "Tags",
  route: "tag",
  lead: "The words that a spoken command turns on: artists, places, times and others.",
  fields: [{ name: "text", label: "Text", rows: 4 }],
  examples: [
    { name: "Music", values: { text: "play some jazz by Miles Davis on spotify" } },
    { name: "Weather", values: { text: "will it snow in Zürich, Switzerland tomorrow at 7 am" } },
    { name: "Table", values: { text: "book a table for four at a taverna in Athens on friday" } },
    { name: "Accents and emoji", values: { text: "🎵 add Café Tacvba 😀 to my playlist road trip" } },
  ],
  body: ({ text }) => ({ text }),
  show(reply, { text }) {
    const [row] = reply.results;
    const { entities } = row;
    const view = annotated(text, {
      model: reply.model,
      marks: entities.map(({ start, end, label }) => ({ start, end, label: words(label), strong: true })),
    });
    const list = bars(
      entities.map((entity, index) => ({
        name: `${words(entity.label)}: ${entity.text}`,
        title: `${entity.label}, characters ${entity.start} to ${entity.end}`,
        share: entity.confidence,
        onlook: (on) => view.light(on ? index : -1),
      })),
    );
    return {
      nodes: [view.node, entities.length ? list : note("Nothing found."), ...leftOut(row)],
      said: `${count(entities.length, "tag")}${entities.map(({ label, text: what }) => `, ${words(label)}: ${what}`).join("")}`,
    };
  },
};
