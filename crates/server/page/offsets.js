// The server counts Unicode scalar values, JavaScript counts UTF-16 code units: an emoji is one of
// the first and two of the second.

/** Where each scalar value of the text begins in code units, and the text's length at the end. */
function codeUnits(text) {
  const at = [];
  for (let unit = 0; unit < text.length; unit += text.codePointAt(unit) > 0xffff ? 2 : 1) at.push(unit);
  at.push(text.length);
  return at;
}

/**
 * Cuts the text wherever a mark or a token begins or ends. Each piece knows its text, the index of
 * the mark it is in (or -1) and the indices of all its tokens: a character of several bytes may be
 * several tokens. Offsets are scalar values; those beyond the text are brought back into it.
 */
export function segments(text, marks, tokens) {
  const at = codeUnits(text);
  const last = at.length - 1;
  const within = (offset) => Math.max(0, Math.min(last, offset));
  const cuts = new Set([0, last]);
  const starts = new Map();
  for (const list of [marks, tokens]) {
    list.forEach((span, index) => {
      if (span.end <= span.start) return;
      cuts.add(within(span.start)).add(within(span.end));
      const begun = starts.get(within(span.start)) ?? [];
      begun.push({ mark: list === marks, index, end: within(span.end) });
      starts.set(within(span.start), begun);
    });
  }
  const ordered = [...cuts].sort((a, b) => a - b);
  let open = [];
  const pieces = [];
  for (let i = 0; i + 1 < ordered.length; i++) {
    const from = ordered[i];
    open = open.filter((span) => span.end > from).concat(starts.get(from) ?? []);
    pieces.push({
      text: text.slice(at[from], at[ordered[i + 1]]),
      mark: open.find((span) => span.mark)?.index ?? -1,
      tokens: open.filter((span) => !span.mark).map((span) => span.index),
    });
  }
  return pieces;
}
