//! A tokenizer as its `tokenizer.json` says, by the `tokenizers` crate.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use serde_json::Value;
use tokenizers::models::unigram::Unigram;
use tokenizers::{
    DecoderWrapper, Encoding as Tokens, Model, NormalizedString, Normalizer, NormalizerWrapper,
    PostProcessorWrapper, PreTokenizerWrapper, Token, TokenizerImpl,
};

use crate::encoding::{AddedPiece, Encoding, Frame, Layout};
use crate::layout_file::{self, RulesFile, SPECIALS};
use crate::memo::{Known, Memo};
use crate::precompiled;
use crate::vocabulary::Vocabulary;
use crate::{Error, Result};

/// Marks stand-ins while the file's layout is read off: ids that no vocabulary reaches.
const STAND_IN: [u32; 2] = [u32::MAX, u32::MAX - 1];

/// Bytes of text that are looked through for special pieces before it is quicker to build a tokenizer
/// without them.
const LOOKED_THROUGH: usize = 1 << 16;

/// The backend for `tokenizer.json`.
#[derive(Debug)]
pub(crate) struct JsonTokenizer {
    bytes: Vec<u8>,
    /// Names the file in errors.
    path: PathBuf,
    tokenizer: tokenizers::Tokenizer,
    /// The same without special pieces, for text in which they are plain characters; built when
    /// first needed.
    plain: OnceLock<std::result::Result<tokenizers::Tokenizer, String>>,
    /// What special pieces start with: in text that has none of these before and after it is
    /// normalised, both tokenizers find the same. `None` where they may differ otherwise.
    starts: Option<Vec<char>>,
    /// Bytes that were looked through.
    looked_through: AtomicUsize,
    /// Words met before, where the file's rules look at each word by itself: many times faster.
    memo: Option<Memo>,
    /// Parts of words that `word_ids` met before: many words differ in case or in a mark at the
    /// end alone.
    parts: Memo,
}

impl JsonTokenizer {
    /// Reads a file's bytes. Its truncation and padding are left aside: `EncodeOptions` rules.
    pub fn new(bytes: Vec<u8>, path: &Path) -> Result<(Self, Vocabulary, Layout)> {
        let refuse = |reason: String| Error::file(path, reason);
        let mut tokenizer = guarded(|| opened(&bytes))
            .map_err(|error| refuse(format!("not a tokenizer.json: {error}")))?;
        tokenizer
            .with_truncation(None)
            .map_err(|error| refuse(format!("truncation settings: {error}")))?;
        tokenizer.with_padding(None);
        let file: RulesFile = serde_json::from_slice(&bytes)
            .map_err(|error| refuse(format!("not a tokenizer.json: {error}")))?;
        precompiled::check_file(&file).map_err(refuse)?;

        let mut pieces: Vec<String> = Vec::new();
        let mut known = tokenizer.get_vocab(true).into_iter().collect::<Vec<_>>();
        known.sort_unstable_by_key(|(_, id)| *id);
        let limit = known.len() * 2 + 1024;
        for (piece, id) in known {
            if id as usize > limit {
                return Err(refuse(format!(
                    "the id {id} of {piece:?} is far beyond the others"
                )));
            }
            pieces.resize((id as usize + 1).max(pieces.len()), String::new());
            pieces[id as usize] = piece;
        }
        let mut reserved: Vec<bool> = pieces.iter().map(String::is_empty).collect();
        for (id, token) in tokenizer.get_added_tokens_decoder() {
            if let Some(reserved) = reserved.get_mut(id as usize) {
                *reserved |= token.special;
            }
        }
        let vocabulary = Vocabulary::new(pieces, &reserved, path)?;
        let layout =
            guarded(|| read_layout(&tokenizer)).map_err(|reason| refuse(reason.to_string()))?;
        let starts = special_starts(&tokenizer);
        let memo = layout_file::has_independent_words(&file).then(Memo::default);
        Ok((
            Self {
                bytes,
                path: path.to_path_buf(),
                tokenizer,
                plain: OnceLock::new(),
                starts,
                looked_through: AtomicUsize::new(0),
                memo,
                parts: Memo::default(),
            },
            vocabulary,
            layout,
        ))
    }

    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    pub fn decode(&self, ids: &[u32]) -> Result<String> {
        guarded(|| self.tokenizer.decode(ids, true)).map_err(|error| self.refused(&*error))
    }

    pub fn tokens(
        &self,
        text: &str,
        parse_specials: bool,
        vocabulary: &Arc<Vocabulary>,
    ) -> Result<Encoding> {
        let find = |text: &str| self.find(text, parse_specials, vocabulary);
        let mut encoding = Encoding::new(vocabulary);
        let mut push = |piece: &Known, start: usize| {
            let span = (start + piece.span.0 as usize, start + piece.span.1 as usize);
            encoding.push(piece.id, span, piece.surface.as_deref());
        };
        // A special piece in the text may take the space before it along.
        let has_specials = parse_specials && SPECIALS.iter().any(|name| text.contains(name));
        match self.memo.as_ref().filter(|_| !has_specials) {
            Some(memo) => {
                let mut start = 0;
                for word in text.split(' ') {
                    if !word.is_empty() {
                        memo.visit(word, || find(word), |piece| push(piece, start))?;
                    }
                    start += word.chars().count() + 1;
                }
            }
            None => find(text)?.iter().for_each(|piece| push(piece, 0)),
        }
        Ok(encoding)
    }

    /// Whether the rules look at each word between spaces by itself.
    pub fn has_independent_words(&self) -> bool {
        self.memo.is_some()
    }

    /// Appends the ids that [`JsonTokenizer::tokens`] gives for a word, special pieces being plain
    /// text.
    pub fn word_ids(&self, word: &str, vocabulary: &Vocabulary, ids: &mut Vec<u32>) -> Result<()> {
        let tokenizer = self.plain()?;
        let specials = vocabulary.specials();
        let mut push = |id: u32| {
            let hidden = specials.all().contains(&id);
            ids.push(if hidden { specials.unk } else { id });
        };
        if word.bytes().all(|byte| byte.is_ascii_graphic()) {
            // What takes the crate most of its time changes nothing here but case and quotes.
            return layout_file::ascii_splits(word, |split| {
                let find = || {
                    let tokens = guarded(|| tokenizer.get_model().tokenize(split))
                        .map_err(|error| self.refused(&*error))?;
                    let known = |token: &Token| Known {
                        id: token.id,
                        span: (0, 0),
                        surface: None,
                    };
                    Ok(tokens.iter().map(known).collect())
                };
                self.parts.visit(split, find, |piece| push(piece.id))
            });
        }
        let tokens = guarded(|| tokenizer.encode_fast(word, false))
            .map_err(|error| self.refused(&*error))?;
        tokens.get_ids().iter().for_each(|&id| push(id));
        Ok(())
    }

    fn plain(&self) -> Result<&tokenizers::Tokenizer> {
        self.plain
            .get_or_init(|| guarded(|| without_specials(&self.bytes)).map_err(|e| e.to_string()))
            .as_ref()
            .map_err(|reason| Error::file(&self.path, reason.as_str()))
    }

    /// An error of the `tokenizers` crate; what made it panic is the file's fault.
    fn refused(&self, error: &(dyn std::error::Error + 'static)) -> Error {
        match error.downcast_ref::<Panicked>() {
            Some(panicked) => Error::file(&self.path, panicked.to_string()),
            None => Error::Encode(error.to_string()),
        }
    }

    /// Whether special pieces change nothing about a text, which saves building the tokenizer
    /// without them: a good part of what a short run takes.
    fn lacks_specials(&self, text: &str) -> bool {
        let Some(starts) = &self.starts else {
            return false;
        };
        let before = self.looked_through.fetch_add(text.len(), Ordering::Relaxed);
        if before > LOOKED_THROUGH || text.contains(&starts[..]) {
            return false;
        }
        let Some(normalizer) = self.tokenizer.get_normalizer() else {
            return true;
        };
        let mut normalized = NormalizedString::from(text);
        guarded(|| normalizer.normalize(&mut normalized)).is_ok()
            && !normalized.get().contains(&starts[..])
    }

    /// The pieces of a text, by the `tokenizers` crate.
    fn find(
        &self,
        text: &str,
        parse_specials: bool,
        vocabulary: &Vocabulary,
    ) -> Result<Vec<Known>> {
        if text.len() >= u32::MAX as usize {
            return Err(Error::Encode("it is longer than 4 GiB".to_owned()));
        }
        let plain_is_there = matches!(self.plain.get(), Some(Ok(_)));
        let tokenizer = match parse_specials || !plain_is_there && self.lacks_specials(text) {
            true => &self.tokenizer,
            false => self.plain()?,
        };
        let tokens = guarded(|| tokenizer.encode_char_offsets(text, false))
            .map_err(|error| self.refused(&*error))?;
        let specials = vocabulary.specials();
        let pieces = tokens
            .get_ids()
            .iter()
            .zip(tokens.get_tokens())
            .zip(tokens.get_offsets());
        Ok(pieces
            .map(|((&id, token), &(from, to))| {
                let hidden = !parse_specials && specials.all().contains(&id);
                let id = if hidden { specials.unk } else { id };
                let surface = (vocabulary.piece(id) != Some(token)).then(|| token.as_str().into());
                Known {
                    id,
                    span: (from as u32, to as u32),
                    surface,
                }
            })
            .collect())
    }
}

/// A file whose model is Unigram, as every ALBERT's is.
type UnigramFile = TokenizerImpl<
    Unigram,
    NormalizerWrapper,
    PreTokenizerWrapper,
    PostProcessorWrapper,
    DecoderWrapper,
>;

/// The tokenizer of a file's bytes, as the `tokenizers` crate reads it.
///
/// To find out which kind of model there is, the crate copies all pieces three times over, which is
/// most of what a short run takes. Told that it is Unigram, it reads them as they come.
fn opened(bytes: &[u8]) -> tokenizers::Result<tokenizers::Tokenizer> {
    match serde_json::from_slice::<UnigramFile>(bytes) {
        Ok(tokenizer) => Ok(tokenizer.into()),
        // Another kind, or a file with a fault that the crate's own words name.
        Err(_) => tokenizers::Tokenizer::from_bytes(bytes),
    }
}

/// The `tokenizers` crate panicked.
#[derive(Debug, thiserror::Error)]
#[error("the `tokenizers` crate cannot follow this file: {0}")]
struct Panicked(String);

/// Calls into the `tokenizers` crate and makes an error of a panic.
///
/// The crate believes its files: hostile ones reach slices out of bounds and unwrapped options in it.
/// What is known to is refused when a file is read; this is the last guard. Nothing that a panic could
/// leave half-done is used again: the crate's tokenizer is only read, and its caches are written in
/// one step.
fn guarded<T>(call: impl FnOnce() -> tokenizers::Result<T>) -> tokenizers::Result<T> {
    catch_unwind(AssertUnwindSafe(call)).unwrap_or_else(|cause| {
        let message = cause
            .downcast_ref::<String>()
            .map(String::as_str)
            .or_else(|| cause.downcast_ref::<&str>().copied());
        Err(Panicked(message.unwrap_or("it panicked").to_owned()).into())
    })
}

/// What special pieces start with, as they stand in the file and as they are normalised; `None`
/// where the file's post-processor does more than to put pieces around a text, where it adds pieces
/// that are not special and that the model lacks, or where what the model sees may differ from what
/// is normalised.
fn special_starts(tokenizer: &tokenizers::Tokenizer) -> Option<Vec<char>> {
    match tokenizer.get_post_processor() {
        None | Some(PostProcessorWrapper::Bert(_) | PostProcessorWrapper::Template(_)) => {}
        Some(_) => return None,
    }
    let added = tokenizer.get_added_tokens_decoder();
    let (specials, others): (Vec<_>, Vec<_>) = added.values().partition(|token| token.special);
    // What the model lacks is numbered in order, and so otherwise where special pieces are left out.
    let model = tokenizer.get_model();
    let known = |token: &&tokenizers::AddedToken| model.token_to_id(&token.content).is_some();
    if !others.iter().all(known) {
        return None;
    }
    let mut starts = Vec::new();
    let specials = specials.iter().map(|token| token.content.as_str());
    for content in specials.chain(SPECIALS) {
        // The space as pieces spell it, and a byte.
        if content.starts_with('▁') || content.starts_with("<0x") {
            return None;
        }
        let mut normalized = NormalizedString::from(content);
        if let Some(normalizer) = tokenizer.get_normalizer() {
            guarded(|| normalizer.normalize(&mut normalized)).ok()?;
        }
        starts.push(content.chars().next()?);
        starts.push(normalized.get().chars().next()?);
    }
    starts.sort_unstable();
    starts.dedup();
    Some(starts)
}

/// The tokenizer of `bytes` that takes special pieces for plain characters.
fn without_specials(bytes: &[u8]) -> tokenizers::Result<tokenizers::Tokenizer> {
    let mut file: Value = serde_json::from_slice(bytes)?;
    let is_special = |token: &Value| token["special"].as_bool().unwrap_or(false);
    let mut names = Vec::new();
    if let Some(added) = file["added_tokens"].as_array_mut() {
        names = added
            .iter()
            .filter(|token| is_special(token))
            .filter_map(|token| token["content"].as_str().map(str::to_owned))
            .collect();
        added.retain(|token| !is_special(token));
    }
    // A Unigram model would still find them among its pieces: give them spellings that text cannot
    // have after splitting at line ends and control characters, and leave their places alone.
    if let Some(vocab) = file["model"]["vocab"].as_array_mut() {
        for entry in vocab {
            if entry[0]
                .as_str()
                .is_some_and(|piece| names.iter().any(|name| name == piece))
            {
                let hidden = format!("\n\0{}\0\n", entry[0].as_str().unwrap_or_default());
                entry[0] = Value::from(hidden);
            }
        }
    }
    file["post_processor"] = Value::Null;
    file["truncation"] = Value::Null;
    file["padding"] = Value::Null;
    opened(&serde_json::to_vec(&file)?)
}

/// Reads off what the file's post-processor puts around texts.
fn read_layout(tokenizer: &tokenizers::Tokenizer) -> tokenizers::Result<Layout> {
    if tokenizer.get_post_processor().is_none() {
        return Ok(Layout::bare());
    }
    let stand_in = |id| Tokens::from_tokens(vec![Token::new(id, String::new(), (0, 0))], 0);
    let single = tokenizer.post_process(stand_in(STAND_IN[0]), None, true)?;
    let pair = tokenizer.post_process(stand_in(STAND_IN[0]), Some(stand_in(STAND_IN[1])), true)?;
    let frame = |tokens: &Tokens, texts: usize| -> tokenizers::Result<Frame> {
        let mut parts: [Vec<AddedPiece>; 3] = Default::default();
        let mut types = [0, 1];
        let mut seen = 0;
        for (&id, &type_id) in tokens.get_ids().iter().zip(tokens.get_type_ids()) {
            if seen < texts && id == STAND_IN[seen] {
                types[seen] = type_id;
                seen += 1;
            } else {
                let part = if seen == texts { 2 } else { seen };
                parts[part].push(AddedPiece { id, type_id });
            }
        }
        if seen != texts {
            return Err("the post-processor leaves out a text or changes the order of two".into());
        }
        let [before, between, after] = parts;
        Ok(Frame {
            before,
            between,
            after,
            types,
        })
    };
    Ok(Layout {
        single: frame(&single, 1)?,
        pair: frame(&pair, 2)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(file: &str) -> (JsonTokenizer, Arc<Vocabulary>) {
        let path = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("../..")
            .join(file);
        let bytes = std::fs::read(&path).unwrap();
        let (tokenizer, vocabulary, _) = JsonTokenizer::new(bytes, &path).unwrap();
        (tokenizer, Arc::new(vocabulary))
    }

    #[test]
    fn a_file_is_opened_as_the_crate_opens_it() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        let unigram = std::fs::read(root.join("models/mini/tokenizer.json")).unwrap();
        let wordpiece = crate::wordpiece::as_json(
            "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\nword\n##s\n".as_bytes(),
            crate::wordpiece::Rules::default(),
            Path::new("vocab.txt"),
        );
        for bytes in [unigram, wordpiece.unwrap()] {
            let ours = opened(&bytes).unwrap();
            let theirs = tokenizers::Tokenizer::from_bytes(&bytes).unwrap();
            let text = |tokenizer: &tokenizers::Tokenizer| tokenizer.to_string(false).unwrap();
            assert_eq!(text(&ours), text(&theirs));
            assert_eq!(ours.get_vocab(true), theirs.get_vocab(true));
        }
    }

    #[test]
    fn text_without_special_pieces_needs_no_tokenizer_without_them() {
        let (tokenizer, vocabulary) = open("models/mini/tokenizer.json");
        for (text, needed) in [
            ("Plain words, déjà vu, 3.14 and ﬁne ligatures", false),
            ("a < b", true),
            ("the [MASK] of Zorro", true),
            // Compatibility forms that become a special piece's start.
            ("\u{ff1c}pad\u{ff1e}", true),
            ("\u{ff3b}CLS\u{ff3d}", true),
        ] {
            let (fresh, _) = open("models/mini/tokenizer.json");
            let found = fresh.find(text, false, &vocabulary).unwrap();
            assert_eq!(fresh.plain.get().is_some(), needed, "{text}");
            tokenizer.plain().unwrap();
            let expected = tokenizer.find(text, false, &vocabulary).unwrap();
            let parts = |pieces: &[Known]| -> Vec<_> {
                let part = |piece: &Known| (piece.id, piece.span, piece.surface.clone());
                pieces.iter().map(part).collect()
            };
            assert_eq!(parts(&found), parts(&expected), "{text}");
        }
    }
}
