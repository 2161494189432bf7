// Elements without markup: text only ever becomes text nodes, so nothing a user writes is parsed.

/** `el("p.note", { id: "x", onclick: f }, "text", node)`; attributes that are null or false are left out. */
export function el(what, attributes = {}, ...children) {
  const [tag, ...classes] = what.split(".");
  const node = document.createElement(tag);
  if (classes.length) node.className = classes.join(" ");
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else node.setAttribute(name, value === true ? "" : value);
  }
  node.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false));
  return node;
}

/** A probability as people read it; never 100% for what is not certain. */
export function percent(share) {
  if (share > 0 && share < 0.0005) return "<0.1%";
  if (share < 1 && share >= 0.9995) return ">99.9%";
  return `${(100 * share).toFixed(1)}%`;
}

/** Milliseconds, with as many digits as matter. */
export function duration(milliseconds) {
  if (milliseconds >= 1000) return `${(milliseconds / 1000).toFixed(1)} s`;
  return `${milliseconds.toFixed(milliseconds < 10 ? 1 : 0)} ms`;
}

/** `1 piece`, `2 pieces`. */
export function count(number, one, many = `${one}s`) {
  return `${number.toLocaleString("en")} ${number === 1 ? one : many}`;
}

/** What the browser keeps for the page; nothing where storage is off. */
export function stored(storage, name, value) {
  try {
    if (value) window[storage].setItem(name, value);
    else if (value !== undefined) window[storage].removeItem(name);
    return window[storage].getItem(name) ?? "";
  } catch {
    return "";
  }
}

/** Words with `code` between backticks, as the server's messages have it. */
export const prose = (text) => text.split("`").map((part, index) => (index % 2 ? el("code", {}, part) : part));

/** A class's name as words: `play_music`, `timeRange`. */
export function words(label) {
  return label.replace(/[_-]+/g, " ").replace(/([a-z])([A-Z])/g, (_, a, b) => `${a} ${b.toLowerCase()}`);
}
