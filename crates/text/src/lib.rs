//! Characters to ids and back: ALBERT's tokenizer, pairs, windows, sentences, vocabulary training.

mod encoding;
mod error;
mod json;
mod layout_file;
mod memo;
mod sentences;
mod spiece;
mod tokenizer;
mod train;
mod trie;
mod vocabulary;

pub use encoding::{EncodeOptions, Encoding, Truncation};
pub use error::{Error, Result};
pub use sentences::sentences;
pub use tokenizer::Tokenizer;
pub use train::{TrainProgress, UnigramOptions, train_unigram};
pub use vocabulary::SpecialIds;
