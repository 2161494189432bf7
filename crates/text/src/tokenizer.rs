//! The tokenizer itself, over the two kinds of files.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::encoding::{EncodeOptions, Encoding, Layout};
use crate::ids::Certainty;
use crate::json::JsonTokenizer;
use crate::spiece::SpieceTokenizer;
use crate::vocabulary::{SpecialIds, Vocabulary};
use crate::wordpiece::{self, Rules, VOCAB_NAME};
use crate::{Error, Result};

/// The name of a tokenizer file of the `tokenizers` crate.
const JSON_NAME: &str = "tokenizer.json";
/// The name of a SentencePiece model.
const SPIECE_NAME: &str = "spiece.model";
/// The name of the file beside it that may change Google's rules.
const CONFIG_NAME: &str = "tokenizer_config.json";

/// Characters to ids and back.
///
/// Cheap to share between threads behind an `Arc`; encoding needs no lock.
#[derive(Debug)]
pub struct Tokenizer {
    backend: Backend,
    vocabulary: Arc<Vocabulary>,
    layout: Layout,
}

#[derive(Debug)]
enum Backend {
    Json(Box<JsonTokenizer>),
    Spiece(Box<SpieceTokenizer>),
}

impl Tokenizer {
    /// Reads a `tokenizer.json`, a `spiece.model`, which of the two, its first byte tells, or under a
    /// name that ends in `.txt` a WordPiece vocabulary with the rules of an uncased BERT.
    ///
    /// # Errors
    /// A file that cannot be read, that is neither, that is damaged, or that lacks one of ALBERT's
    /// special pieces.
    pub fn from_file(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let bytes = std::fs::read(path).map_err(Error::io(path))?;
        Self::from_bytes(bytes, path)
    }

    /// Reads the tokenizer of a checkpoint folder: `tokenizer.json`, else `spiece.model` with the
    /// `do_lower_case`, `remove_space` and `keep_accents` of a `tokenizer_config.json` beside it, else
    /// `vocab.txt` (WordPiece, as transformers' `BertTokenizer`) with its `do_lower_case`,
    /// `strip_accents` and `tokenize_chinese_chars`.
    ///
    /// # Errors
    /// As [`Tokenizer::from_file`], and a folder with neither.
    pub fn from_folder(folder: impl AsRef<Path>) -> Result<Self> {
        let folder = folder.as_ref();
        let json = folder.join(JSON_NAME);
        if json.exists() {
            return Self::from_file(json);
        }
        let spiece = folder.join(SPIECE_NAME);
        if spiece.exists() {
            let mut tokenizer = Self::from_file(spiece)?;
            let config = folder.join(CONFIG_NAME);
            if let Backend::Spiece(backend) = &mut tokenizer.backend
                && config.exists()
            {
                let text = std::fs::read_to_string(&config).map_err(Error::io(&config))?;
                backend
                    .configure(&text)
                    .map_err(|reason| Error::file(&config, reason))?;
            }
            return Ok(tokenizer);
        }
        let vocab = folder.join(VOCAB_NAME);
        if vocab.exists() {
            let config = folder.join(CONFIG_NAME);
            let rules = match config.exists() {
                true => {
                    let text = std::fs::read_to_string(&config).map_err(Error::io(&config))?;
                    Rules::parse(&text).map_err(|reason| Error::file(&config, reason))?
                }
                false => Rules::default(),
            };
            let bytes = std::fs::read(&vocab).map_err(Error::io(&vocab))?;
            return Self::from_wordpiece(&bytes, rules, &vocab);
        }
        Err(Error::NoTokenizer(folder.to_path_buf()))
    }

    /// Reads the bytes of a tokenizer file. `path` names them in errors.
    ///
    /// # Errors
    /// As [`Tokenizer::from_file`].
    pub fn from_bytes(bytes: Vec<u8>, path: &Path) -> Result<Self> {
        if path.extension().is_some_and(|name| name == "txt") {
            return Self::from_wordpiece(&bytes, Rules::default(), path);
        }
        // A SentencePiece model starts with the key of its first piece, a line feed to JSON's eyes.
        match bytes.iter().find(|byte| !byte.is_ascii_whitespace()) {
            None => Err(Error::file(path, "the file is empty")),
            Some(b'{') => Self::from_json(bytes, path),
            Some(_) if path.extension().is_some_and(|name| name == "json") => Err(Error::file(
                path,
                "not a tokenizer.json: it does not start with a brace",
            )),
            Some(_) => Self::from_spiece(bytes, path),
        }
    }

    fn from_wordpiece(bytes: &[u8], rules: Rules, path: &Path) -> Result<Self> {
        Self::from_json(wordpiece::as_json(bytes, rules, path)?, path)
    }

    fn from_spiece(bytes: Vec<u8>, path: &Path) -> Result<Self> {
        let (backend, vocabulary, layout) = SpieceTokenizer::new(bytes, path)?;
        Ok(Self {
            backend: Backend::Spiece(Box::new(backend)),
            vocabulary: Arc::new(vocabulary),
            layout,
        })
    }

    pub(crate) fn from_json(bytes: Vec<u8>, path: &Path) -> Result<Self> {
        let (backend, vocabulary, layout) = JsonTokenizer::new(bytes, path)?;
        Ok(Self {
            backend: Backend::Json(Box::new(backend)),
            vocabulary: Arc::new(vocabulary),
            layout,
        })
    }

    /// Writes the tokenizer into a folder, under the name and in the form that it was read in:
    /// `tokenizer.json` for one that was trained here, and for a `vocab.txt`, with its rules in it.
    /// Returns the file's path. A `spiece.model` with
    /// rules other than ALBERT's gets its `tokenizer_config.json`.
    ///
    /// The folder is created if it is missing. The file gets a temporary name first, so that no half file
    /// takes the place of a whole one.
    ///
    /// # Errors
    /// A folder that cannot be created or written to.
    pub fn save(&self, folder: impl AsRef<Path>) -> Result<PathBuf> {
        let folder = folder.as_ref();
        match &self.backend {
            Backend::Json(backend) => write(folder, JSON_NAME, backend.bytes()),
            Backend::Spiece(backend) => {
                if let Some(config) = backend.configuration() {
                    write(folder, CONFIG_NAME, config.as_bytes())?;
                }
                write(folder, SPIECE_NAME, backend.bytes())
            }
        }
    }

    /// How many pieces the vocabulary has: ids are below this.
    pub fn vocab_size(&self) -> usize {
        self.vocabulary.len()
    }

    /// A piece by its id.
    pub fn id_to_piece(&self, id: u32) -> Option<&str> {
        self.vocabulary.piece(id)
    }

    /// An id by its piece.
    pub fn piece_to_id(&self, piece: &str) -> Option<u32> {
        self.vocabulary.id(piece)
    }

    /// The ids of the special pieces.
    pub fn specials(&self) -> &SpecialIds {
        self.vocabulary.specials()
    }

    /// Whether an id is one of the five special pieces.
    pub fn is_special(&self, id: u32) -> bool {
        self.specials().all().contains(&id)
    }

    /// Whether an id stands for text: it is in the vocabulary and neither special, nor a control
    /// piece, nor unused. Random replacements in masking are drawn from these.
    pub fn is_ordinary(&self, id: u32) -> bool {
        self.vocabulary.is_ordinary(id)
    }

    /// Whether a piece opens a word for whole-word masking, by the rule of Google's
    /// `create_pretraining_data.py`: it starts with U+2581, or is special, or a punctuation mark, or
    /// holds anything but English letters (digits and foreign letters stand alone).
    pub fn is_word_start(&self, id: u32) -> bool {
        self.vocabulary.is_word_start(id)
    }

    /// The pieces of a text alone, nothing added. `parse_specials` as in [`EncodeOptions`].
    ///
    /// # Errors
    /// Only what the `tokenizers` crate refuses with an unusual `tokenizer.json`.
    pub fn tokens(&self, text: &str, parse_specials: bool) -> Result<Encoding> {
        match &self.backend {
            Backend::Json(backend) => backend.tokens(text, parse_specials, &self.vocabulary),
            Backend::Spiece(backend) => backend.tokens(text, parse_specials, &self.vocabulary),
        }
    }

    /// Whether the pieces of a word between spaces depend on nothing but the word, rounding aside.
    pub(crate) fn has_independent_words(&self) -> bool {
        match &self.backend {
            Backend::Json(backend) => backend.has_independent_words(),
            Backend::Spiece(backend) => backend.has_independent_words(),
        }
    }

    /// Appends the ids of a word between spaces, for tokenizers that have independent words.
    pub(crate) fn word_ids(&self, word: &str, ids: &mut Vec<u32>) -> Result<Certainty> {
        match &self.backend {
            Backend::Json(backend) => {
                backend.word_ids(word, &self.vocabulary, ids)?;
                Ok(Certainty::ALWAYS)
            }
            Backend::Spiece(backend) => Ok(backend.word_ids(word, &self.vocabulary, ids)),
        }
    }

    /// Encodes a text: `[CLS] text [SEP]`.
    ///
    /// # Errors
    /// As [`Tokenizer::tokens`]; more pieces than `max_length` where truncation is not allowed or
    /// cannot reach it.
    pub fn encode(&self, text: &str, options: &EncodeOptions) -> Result<Encoding> {
        let tokens = self.tokens(text, options.parse_specials)?;
        self.arrange(&tokens, None, options)
    }

    /// Encodes a pair of texts: `[CLS] a [SEP] b [SEP]`.
    ///
    /// # Errors
    /// As [`Tokenizer::encode`].
    pub fn encode_pair(&self, a: &str, b: &str, options: &EncodeOptions) -> Result<Encoding> {
        let first = self.tokens(a, options.parse_specials)?;
        let second = self.tokens(b, options.parse_specials)?;
        self.arrange(&first, Some(&second), options)
    }

    fn arrange(
        &self,
        first: &Encoding,
        second: Option<&Encoding>,
        options: &EncodeOptions,
    ) -> Result<Encoding> {
        let bare = Layout::bare();
        let layout = if options.add_special {
            &self.layout
        } else {
            &bare
        };
        layout.arrange(first, second, options.max_length, options.truncation)
    }

    /// Encodes a long text as overlapping windows of at most `max_length` pieces, added ones
    /// included. Neighbours share `stride` pieces of the text (transformers' meaning of the word).
    /// With a question each window is `[CLS] question [SEP] window [SEP]`, else
    /// `[CLS] window [SEP]`. Offsets count from the start of the whole text. A text without pieces
    /// has one window. Nothing is cut; `max_length` and `truncation` of `options` are not used.
    ///
    /// # Errors
    /// As [`Tokenizer::tokens`]; a question and a stride that leave no room for the text.
    pub fn windows(
        &self,
        question: Option<&str>,
        text: &str,
        max_length: usize,
        stride: usize,
        options: &EncodeOptions,
    ) -> Result<Vec<Encoding>> {
        let question = question
            .map(|text| self.tokens(text, options.parse_specials))
            .transpose()?;
        let text = self.tokens(text, options.parse_specials)?;
        let bare = Layout::bare();
        let layout = if options.add_special {
            &self.layout
        } else {
            &bare
        };
        layout.windows(question.as_ref(), &text, max_length, stride)
    }

    /// The text of ids. Special pieces are left out, `<unk>` too; ids beyond the vocabulary count as
    /// nothing. Case, accents and spacing are those of the normalised text.
    pub fn decode(&self, ids: &[u32]) -> String {
        let known: Vec<u32> = ids
            .iter()
            .copied()
            .filter(|&id| self.id_to_piece(id).is_some() && !self.is_special(id))
            .collect();
        match &self.backend {
            Backend::Json(backend) => backend.decode(&known).unwrap_or_default(),
            Backend::Spiece(backend) => backend.decode(&known, &self.vocabulary),
        }
    }
}

/// Writes a file under a random temporary name, synchronises it with the disk, then gives it its own
/// name: a reader finds the old file or the new one, whole.
fn write(folder: &Path, name: &str, bytes: &[u8]) -> Result<PathBuf> {
    std::fs::create_dir_all(folder).map_err(Error::io(folder))?;
    let path = folder.join(name);
    let mut builder = tempfile::Builder::new();
    builder.prefix(".albert-").suffix(".part");
    #[cfg(unix)]
    {
        // The mode of an ordinary new file; the umask narrows it.
        use std::os::unix::fs::PermissionsExt;
        builder.permissions(std::fs::Permissions::from_mode(0o666));
    }
    let mut file = builder.tempfile_in(folder).map_err(Error::io(&path))?;
    file.write_all(bytes).map_err(Error::io(&path))?;
    file.as_file().sync_all().map_err(Error::io(&path))?;
    file.persist(&path)
        .map_err(|refused| Error::io(&path)(refused.error))?;
    // The rename itself lasts through a crash where the folder can be synchronised; some file systems
    // cannot, and the file is in its place all the same.
    if cfg!(unix) {
        let _ = std::fs::File::open(folder).and_then(|folder| folder.sync_all());
    }
    Ok(path)
}
