//! Characters to ids and back.
//!
//! A [`Tokenizer`] comes from an official `spiece.model`, from a `tokenizer.json`, from a checkpoint
//! folder that holds either, or from [`train_unigram`], which learns a vocabulary from raw text:
//!
//! - A `spiece.model` is read as protobuf and followed as transformers 4.57.1's slow
//!   `AlbertTokenizer` follows it, to the id: Google's rules for spaces, quotes, accents and case;
//!   SentencePiece's compiled rules and its best segmentation, f32 rounding included; and the rule that
//!   splits `2,000,` into `2,000` and `,`. Today's fast tokenizers made from the same file differ.
//! - A `tokenizer.json` is followed as written, by the `tokenizers` crate. Files that this crate wrote
//!   look at each word by itself; for those the crate is asked once a word, and remembers.
//!
//! An [`Encoding`] has ids, type ids and offsets. Offsets count characters (Unicode scalar values) of
//! the original text, before any normalisation: `text.chars().skip(from).take(to - from)` is what a
//! piece stands for. Nothing is cut in silence: a text beyond `max_length` is an error unless
//! [`Truncation`] allows to cut it, and then [`Encoding::truncated`] counts what is missing. Long texts
//! go through [`Tokenizer::windows`]. Where a corpus is to become ids and nothing else, an
//! [`IdEncoder`] is many times faster.
//!
//! Special pieces typed in a text, such as `[MASK]`, are read as themselves. For text that strangers
//! wrote set [`EncodeOptions::parse_specials`] to false: then they are plain characters, and the only
//! special ids in the result are those that were added around it.
//!
//! [`sentences()`] cuts prose at sentence boundaries, which is what pretraining pairs are made of.
//!
//! ```
//! use albert_text::{EncodeOptions, UnigramOptions, sentences, train_unigram};
//!
//! // A toy vocabulary; real ones have some ten thousand pieces from some ten million words.
//! let corpus = ["Rome is the capital of Italy.", "Paris is the capital of France."];
//! let options = UnigramOptions { vocab_size: 26, character_coverage: 1.0, ..Default::default() };
//! let texts = corpus.iter().map(|text| text.to_string());
//! let tokenizer = train_unigram(texts, &options, &mut |_| ())?;
//!
//! let text = "The capital of [MASK] is Paris.";
//! let encoding = tokenizer.encode(text, &EncodeOptions::default())?;
//! assert_eq!(encoding.ids.first(), Some(&tokenizer.specials().cls));
//! assert_eq!(encoding.ids.last(), Some(&tokenizer.specials().sep));
//! assert!(encoding.ids.contains(&tokenizer.specials().mask));
//! assert_eq!(encoding.truncated, 0);
//!
//! // The full stop stands where it stood.
//! let stop = encoding.pieces().iter().position(|piece| *piece == ".").unwrap();
//! assert_eq!(encoding.offsets[stop], (30, 31));
//!
//! let text = "Rome (Italy) is old. Paris isn't.";
//! assert_eq!(sentences(text), [0..20, 21..33]);
//! # Ok::<(), albert_text::Error>(())
//! ```

mod encoding;
mod error;
mod ids;
mod json;
mod layout_file;
mod memo;
mod precompiled;
mod sentences;
mod spiece;
mod tokenizer;
mod train;
mod trie;
mod vocabulary;
mod wordpiece;

pub use encoding::{EncodeOptions, Encoding, Truncation};
pub use error::{Error, Result};
pub use ids::IdEncoder;
pub use sentences::sentences;
pub use tokenizer::Tokenizer;
pub use train::{TrainProgress, UnigramOptions, train_unigram};
pub use vocabulary::SpecialIds;
