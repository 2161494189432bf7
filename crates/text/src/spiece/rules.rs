//! Google's rules on text before SentencePiece sees it, as transformers' slow `AlbertTokenizer` has
//! them.

use serde_json::{Value, json};
use unicode_normalization::char::{canonical_combining_class, decompose_compatible};

use super::symbols::Symbols;

/// Which of Google's rules apply; the names are those of `tokenizer_config.json`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Rules {
    pub do_lower_case: bool,
    pub remove_space: bool,
    pub keep_accents: bool,
}

impl Default for Rules {
    fn default() -> Self {
        Self {
            do_lower_case: true,
            remove_space: true,
            keep_accents: false,
        }
    }
}

impl Rules {
    /// Reads the rules of a `tokenizer_config.json`; what it leaves out is as usual.
    pub fn parse(config: &str) -> Result<Self, String> {
        let config: Value =
            serde_json::from_str(config).map_err(|error| format!("not JSON: {error}"))?;
        let config = config.as_object().ok_or("not a JSON object")?;
        let rule = |name: &str, usual: bool| match config.get(name) {
            None | Some(Value::Null) => Ok(usual),
            Some(Value::Bool(value)) => Ok(*value),
            Some(other) => Err(format!("{name} = {other}: it must be true or false")),
        };
        let usual = Self::default();
        Ok(Self {
            do_lower_case: rule("do_lower_case", usual.do_lower_case)?,
            remove_space: rule("remove_space", usual.remove_space)?,
            keep_accents: rule("keep_accents", usual.keep_accents)?,
        })
    }

    /// A `tokenizer_config.json` with the rules.
    pub fn to_json(self) -> String {
        let config = json!({
            "tokenizer_class": "AlbertTokenizer",
            "do_lower_case": self.do_lower_case,
            "remove_space": self.remove_space,
            "keep_accents": self.keep_accents,
        });
        format!("{config:#}\n")
    }
}

/// White space as Python's `str.split` sees it: Unicode's, and the four information separators.
pub(super) fn is_space(c: char) -> bool {
    c.is_whitespace() || ('\u{1c}'..='\u{1f}').contains(&c)
}

/// Collects characters and mends what depends on the neighbour.
struct Writer {
    symbols: Symbols,
    /// The last character as the text has it, if it may pair up to a quotation mark.
    open_quote: Option<char>,
    /// Whether a capital sigma came out of a compatibility form: its small form depends on the word.
    sigma: bool,
}

impl Rules {
    /// Applies the rules to a stretch of text whose first character has the index `start`.
    pub fn apply(&self, text: &str, start: u32) -> Symbols {
        let mut writer = Writer {
            symbols: Symbols::with_capacity(text.len()),
            open_quote: None,
            sigma: false,
        };
        // White space before the next character: where it starts and ends.
        let mut gap: Option<(u32, u32)> = None;
        for (index, c) in (start..).zip(text.chars()) {
            if self.remove_space && is_space(c) {
                gap = Some((gap.map_or(index, |(from, _)| from), index + 1));
                continue;
            }
            if let Some(span) = gap.take().filter(|_| writer.symbols.len() > 0) {
                writer.symbols.push(' ', span);
                writer.open_quote = None;
            }
            writer.character(self, c, index);
        }
        if writer.sigma && self.do_lower_case {
            lower_sigmas(&mut writer.symbols.chars);
        }
        writer.symbols
    }
}

impl Writer {
    fn character(&mut self, rules: &Rules, c: char, index: u32) {
        let span = (index, index + 1);
        if c.is_ascii() {
            if matches!(c, '`' | '\'') {
                if self.open_quote.take() == Some(c) {
                    // The two of `` or '' become one quotation mark.
                    if let (Some(last), Some(span)) =
                        (self.symbols.chars.last_mut(), self.symbols.spans.last_mut())
                    {
                        *last = '"';
                        span.1 = index + 1;
                    }
                    return;
                }
                self.open_quote = Some(c);
            } else {
                self.open_quote = None;
            }
            let c = if rules.do_lower_case {
                c.to_ascii_lowercase()
            } else {
                c
            };
            self.symbols.push(c, span);
            return;
        }
        self.open_quote = None;
        let before = self.symbols.len();
        if rules.do_lower_case {
            // transformers lowers each character by itself first, so that a capital sigma in the
            // text never takes its final form.
            c.to_lowercase()
                .for_each(|c| self.decompose(rules, c, span));
        } else {
            self.decompose(rules, c, span);
        }
        // A mark that vanished still belongs to the letter before it.
        if self.symbols.len() == before
            && canonical_combining_class(c) != 0
            && self.symbols.chars.last().is_some_and(|c| *c != ' ')
            && let Some(last) = self.symbols.spans.last_mut()
        {
            last.1 = index + 1;
        }
    }

    /// Compatibility decomposition, combining marks left out. Marks alone would be reordered by NFKD,
    /// and none is left, so character by character does it.
    fn decompose(&mut self, rules: &Rules, c: char, span: (u32, u32)) {
        if rules.keep_accents {
            self.lower(rules, c, span);
            return;
        }
        decompose_compatible(c, |part| {
            if canonical_combining_class(part) == 0 {
                self.lower(rules, part, span);
            }
        });
    }

    fn lower(&mut self, rules: &Rules, c: char, span: (u32, u32)) {
        if rules.do_lower_case && c != 'Σ' {
            c.to_lowercase().for_each(|c| self.symbols.push(c, span));
        } else {
            self.sigma |= c == 'Σ';
            self.symbols.push(c, span);
        }
    }
}

/// Lowers the capital sigmas that decomposition brought: final form at the end of a word.
fn lower_sigmas(chars: &mut [char]) {
    // All else is lower case already and maps to itself, one to one.
    let lowered = chars.iter().collect::<String>().to_lowercase();
    for (c, lowered) in chars.iter_mut().zip(lowered.chars()) {
        if *c == 'Σ' {
            *c = lowered;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn apply(text: &str) -> (String, Vec<(u32, u32)>) {
        let symbols = Rules::default().apply(text, 0);
        (symbols.chars.iter().collect(), symbols.spans)
    }

    #[test]
    fn spaces_collapse_and_keep_their_span() {
        let (text, spans) = apply(" \t a\u{1c}\u{3000}b\n");
        assert_eq!(text, "a b");
        assert_eq!(spans, [(3, 4), (4, 6), (6, 7)]);
    }

    #[test]
    fn doubled_quotes_become_one_mark() {
        assert_eq!(apply("``a'' '''").0, "\"a\" \"'");
        assert_eq!(apply("` `a").0, "` `a");
        assert_eq!(apply("``a").1, [(0, 2), (2, 3)]);
        // A full-width grave accent becomes ` only after the quotes were seen to.
        assert_eq!(apply("`\u{ff40}").0, "``");
    }

    #[test]
    fn accents_ligatures_and_case() {
        assert_eq!(apply("É\u{fb01}").1, [(0, 1), (1, 2), (1, 2)]);
        assert_eq!(apply("É\u{fb01}").0, "efi");
        assert_eq!(apply("e\u{301}x").1, [(0, 2), (2, 3)]);
        assert_eq!(apply("İ").0, "i");
    }

    #[test]
    fn sigma_takes_its_final_form_only_out_of_compatibility_forms() {
        assert_eq!(apply("ΑΣ").0, "ασ");
        assert_eq!(apply("\u{1d6ba}\u{1d6ba}").0, "σς");
    }
}
