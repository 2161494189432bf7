//! A tag for each word, and the entities that tags make (IOB2).

use std::ops::Range;
use std::sync::Arc;

use albert_checkpoint::Architecture;
use albert_engine::Engine;
use albert_text::Tokenizer;
use serde::Serialize;

use crate::rows::{Row, Wanted, greatest, softmax};
use crate::{Asked, Error, LongText, Result, TaskSettings, features};

/// The tag of a word that is part of nothing.
const OUTSIDE: &str = "O";

/// Tags the words of texts.
#[derive(Clone)]
pub struct Tagger {
    engine: Arc<Engine>,
    tokenizer: Arc<Tokenizer>,
    settings: TaskSettings,
}

/// A word and its tag.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct TaggedWord {
    /// The word.
    pub text: String,
    /// Its first character in the text (Unicode scalar values).
    pub start: usize,
    /// The character behind its last.
    pub end: usize,
    /// The likeliest tag.
    pub tag: String,
    /// Its probability.
    pub confidence: f32,
}

/// Words that belong together.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Entity {
    /// What they are: the tag without `B-` and `I-`.
    pub label: String,
    /// What they say, letter by letter as in the text.
    pub text: String,
    /// The first character in the text.
    pub start: usize,
    /// The character behind the last.
    pub end: usize,
    /// The least probability among their tags.
    pub confidence: f32,
}

/// A text with its tags.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Tagged {
    /// What the tags make, in order.
    pub entities: Vec<Entity>,
    /// Every word.
    pub words: Vec<TaggedWord>,
    /// Pieces left out because the text is longer than the model reads; their words are `O`.
    pub truncated: usize,
}

impl Tagger {
    /// A task over a folder with a token classifier.
    ///
    /// # Errors
    /// [`Error::NoHead`] for another folder.
    pub fn new(engine: Arc<Engine>, tokenizer: Arc<Tokenizer>) -> Result<Self> {
        match engine.config().architecture {
            Architecture::TokenClassification => Ok(Self {
                engine,
                tokenizer,
                settings: TaskSettings::default(),
            }),
            _ => Err(Error::no_head("tag", "token classification", &engine)),
        }
    }

    /// The same with what the folder's `task.json` says.
    pub fn with_settings(mut self, settings: TaskSettings) -> Self {
        self.settings = settings;
        self
    }

    /// The tags of each text. Words end at white space; punctuation before and after them stands
    /// alone. A text longer than the model reads is tagged in overlapping windows.
    ///
    /// # Errors
    /// [`Error::NotFinite`], and what the tokenizer or the engine refuse.
    pub fn tag(&self, texts: &[&str]) -> Result<Vec<Tagged>> {
        let asked = texts.iter().map(|text| self.ask(text, None));
        Asked::run_all(asked.collect::<Result<_>>()?, &self.engine)
    }

    /// The rows of a text for others to run, one a window, and the way from their numbers to
    /// [`Tagger::tag`]'s answer. A long text is read in windows unless told; where it is cut, words
    /// behind the first window are `O`.
    ///
    /// # Errors
    /// [`Error::TooLong`], and the tokenizer's.
    pub fn ask(&self, text: &str, long: Option<LongText>) -> Result<Asked<Tagged>> {
        let characters: Vec<char> = text.chars().collect();
        let places = words_of(&characters);
        let word = |place: &Range<usize>| characters[place.clone()].iter().collect();
        let words: Vec<String> = places.iter().map(word).collect();
        let asked = self.ask_words(&words, long)?;
        Ok(asked.map(move |(tags, truncated)| {
            let words = places.into_iter().zip(words).zip(tags);
            let words: Vec<TaggedWord> = words
                .map(|((place, word), (tag, confidence))| TaggedWord {
                    text: word,
                    start: place.start,
                    end: place.end,
                    tag,
                    confidence,
                })
                .collect();
            Tagged {
                entities: entities(&characters, &words),
                words,
                truncated,
            }
        }))
    }

    /// The likeliest tag of each word of each text, with its probability; a word without pieces
    /// is `O`.
    ///
    /// # Errors
    /// As [`Tagger::tag`].
    pub fn tag_words<S: AsRef<str>>(&self, texts: &[Vec<S>]) -> Result<Vec<Vec<(String, f32)>>> {
        let asked = texts.iter().map(|words| {
            let asked = self.ask_words(words, None)?;
            Ok(asked.map(|(tags, _)| tags))
        });
        Asked::run_all(asked.collect::<Result<_>>()?, &self.engine)
    }

    /// Also how many pieces of the words were left out.
    fn ask_words<S: AsRef<str>>(
        &self,
        words: &[S],
        long: Option<LongText>,
    ) -> Result<Asked<(Tags, usize)>> {
        let max_length = self.settings.max_length_in(&self.engine).max(8);
        let counts = words
            .iter()
            .map(|word| Ok(self.tokenizer.tokens(word.as_ref(), false)?.len()))
            .collect::<Result<Vec<usize>>>()?;
        // [CLS] and [SEP] stand in a row too.
        LongText::check(long, counts.iter().sum::<usize>() + 2, max_length)?;
        let mut places = windows(&counts, max_length - 2);
        if long == Some(LongText::Cut) {
            places.truncate(1);
        }
        let read = places.last().map_or(0, |place| place.end);
        // A word that has more pieces than there is room for is alone in its window.
        let room = max_length - 2;
        let beyond = counts[..read]
            .iter()
            .map(|count| count.saturating_sub(room));
        let truncated = counts[read..].iter().sum::<usize>() + beyond.sum::<usize>();
        let mut rows = Vec::with_capacity(places.len());
        let mut pieces = Vec::with_capacity(places.len());
        for place in &places {
            let (encoding, firsts) =
                features::words(&self.tokenizer, &words[place.clone()], max_length)?;
            rows.push(Row::from(&encoding));
            pieces.push(firsts);
        }
        let engine = Arc::clone(&self.engine);
        let temperature = self.settings.temperature.unwrap_or(1.0);
        // Of each word the likeliest label, with its probability.
        let each = move |row: usize, logits: Vec<f32>| -> Vec<Option<(usize, f32)>> {
            let labels = engine.config().id2label.len();
            let said = pieces[row].iter().map(|piece| {
                let logits = &logits[(*piece)? * labels..][..labels];
                let best = greatest(logits);
                Some((best, softmax(logits, temperature)[best]))
            });
            said.collect()
        };
        let engine = Arc::clone(&self.engine);
        let count = words.len();
        let answer = move |windows: Vec<Vec<Option<(usize, f32)>>>| {
            let labels = &engine.config().id2label;
            let mut tags = vec![(OUTSIDE.to_owned(), 1.0); count];
            // How far a word is from the nearer edge of the window that its tag is from.
            let mut depths = vec![0; count];
            for (place, said) in places.iter().zip(windows) {
                for (i, said) in said.into_iter().enumerate() {
                    let Some((label, probability)) = said else {
                        continue;
                    };
                    let word = place.start + i;
                    let depth = 1 + i.min(place.len() - 1 - i);
                    if depth > depths[word] {
                        depths[word] = depth;
                        tags[word] = (labels[label].clone(), probability);
                    }
                }
            }
            (tags, truncated)
        };
        Ok(Asked::new(rows, Wanted::Tokens, each, answer))
    }
}

/// The tag of each word, with its probability.
type Tags = Vec<(String, f32)>;

/// Ranges of words, of so many pieces each, that fit into rows; neighbours share about a quarter.
fn windows(pieces: &[usize], room: usize) -> Vec<Range<usize>> {
    let mut windows = Vec::new();
    let mut start = 0;
    while start < pieces.len() {
        let mut used = 0;
        let fits = |count: &&usize| {
            used += **count;
            used <= room
        };
        let count = pieces[start..].iter().take_while(fits).count().max(1);
        windows.push(start..start + count);
        if start + count == pieces.len() {
            break;
        }
        start += (count - count / 4).max(1);
    }
    windows
}

/// Where the words of a text are.
fn words_of(text: &[char]) -> Vec<Range<usize>> {
    let mut words = Vec::new();
    let mut at = 0;
    while at < text.len() {
        if text[at].is_whitespace() {
            at += 1;
            continue;
        }
        let end = (at..text.len())
            .find(|&i| text[i].is_whitespace())
            .unwrap_or(text.len());
        let is_mark = |i: &usize| text[*i].is_ascii_punctuation();
        let first = (at..end).find(|i| !is_mark(i)).unwrap_or(end);
        let last = (first..end).rfind(|i| !is_mark(i)).map_or(first, |i| i + 1);
        words.extend((at..first).map(|i| i..i + 1));
        if first < last {
            words.push(first..last);
        }
        words.extend((last..end).map(|i| i..i + 1));
        at = end;
    }
    words
}

/// What the tags make: from a `B-`, or an `I-` that goes on from nothing of its kind, to the last
/// `I-` of the same kind.
fn entities(text: &[char], words: &[TaggedWord]) -> Vec<Entity> {
    let mut entities: Vec<Entity> = Vec::new();
    let mut open = false;
    for word in words {
        let (prefix, label) = word.tag.split_once('-').unwrap_or((&word.tag, ""));
        if prefix == OUTSIDE {
            open = false;
            continue;
        }
        match entities.last_mut() {
            Some(last) if open && prefix == "I" && last.label == label => {
                last.end = word.end;
                last.confidence = last.confidence.min(word.confidence);
            }
            _ => entities.push(Entity {
                label: label.to_owned(),
                text: String::new(),
                start: word.start,
                end: word.end,
                confidence: word.confidence,
            }),
        }
        open = true;
    }
    for entity in &mut entities {
        entity.text = text[entity.start..entity.end].iter().collect();
    }
    entities
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn punctuation_around_a_word_stands_alone() {
        let text: Vec<char> = " (play)  Élan's, 'it'! ...".chars().collect();
        let words: Vec<String> = words_of(&text)
            .into_iter()
            .map(|word| text[word].iter().collect())
            .collect();
        let expected = [
            "(", "play", ")", "Élan's", ",", "'", "it", "'", "!", ".", ".", ".",
        ];
        assert_eq!(words, expected);
    }

    #[test]
    fn entities_go_on_over_tags_of_their_kind() {
        let text: Vec<char> = "play née blue moon by x".chars().collect();
        let tags = ["O", "B-song", "I-song", "I-artist", "O", "I-song"];
        let words: Vec<TaggedWord> = words_of(&text)
            .into_iter()
            .zip(tags)
            .map(|(place, tag)| TaggedWord {
                text: text[place.clone()].iter().collect(),
                start: place.start,
                end: place.end,
                tag: tag.to_owned(),
                confidence: 0.5,
            })
            .collect();
        let found = entities(&text, &words);
        let found: Vec<(&str, &str, usize)> = found
            .iter()
            .map(|e| (e.label.as_str(), e.text.as_str(), e.start))
            .collect();
        let expected = [
            ("song", "née blue", 5),
            ("artist", "moon", 14),
            ("song", "x", 22),
        ];
        assert_eq!(found, expected);
    }
}
