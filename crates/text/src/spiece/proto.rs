//! What a SentencePiece model file says, read from its protobuf bytes.

/// A SentencePiece model: the fields that decide how text is encoded.
#[derive(Debug, PartialEq)]
pub(super) struct Model {
    pub pieces: Vec<Piece>,
    /// 1 Unigram, 2 BPE, 3 word, 4 character.
    pub model_type: u64,
    pub byte_fallback: bool,
    pub whitespace_as_suffix: bool,
    pub charsmap: Vec<u8>,
    pub add_dummy_prefix: bool,
    pub remove_extra_whitespaces: bool,
    pub escape_whitespaces: bool,
}

#[derive(Debug, PartialEq)]
pub(super) struct Piece {
    pub text: String,
    pub score: f32,
    pub kind: Kind,
}

/// What a piece is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Normal,
    Unknown,
    Control,
    UserDefined,
    Unused,
    Byte,
}

/// A field of a message.
enum Field<'a> {
    Varint(u64),
    Fixed32(u32),
    Fixed64,
    Bytes(&'a [u8]),
}

type Result<T> = std::result::Result<T, String>;

/// Reads messages field by field. Every length is held against the bytes that are there.
struct Reader<'a> {
    rest: &'a [u8],
    whole: usize,
}

impl<'a> Reader<'a> {
    fn new(bytes: &'a [u8]) -> Self {
        Self {
            rest: bytes,
            whole: bytes.len(),
        }
    }

    fn error(&self, what: &str) -> String {
        format!(
            "not a SentencePiece model: {what} at byte {}",
            self.whole - self.rest.len()
        )
    }

    fn take(&mut self, count: usize) -> Result<&'a [u8]> {
        let Some((taken, rest)) = self.rest.split_at_checked(count) else {
            return Err(self.error("the file ends inside a field"));
        };
        self.rest = rest;
        Ok(taken)
    }

    fn varint(&mut self) -> Result<u64> {
        let mut value = 0_u64;
        for shift in (0..64).step_by(7) {
            let byte = self.take(1)?[0];
            value |= u64::from(byte & 0x7F) << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(self.error("a number of more than 64 bits"))
    }

    /// The next field's number and content, or `None` at the end.
    fn field(&mut self) -> Result<Option<(u64, Field<'a>)>> {
        if self.rest.is_empty() {
            return Ok(None);
        }
        let key = self.varint()?;
        let field = match key & 7 {
            0 => Field::Varint(self.varint()?),
            1 => {
                self.take(8)?;
                Field::Fixed64
            }
            2 => {
                let length = self.varint()?;
                let length = usize::try_from(length)
                    .map_err(|_| self.error("a field longer than memory"))?;
                Field::Bytes(self.take(length)?)
            }
            5 => {
                let bytes = self.take(4)?;
                Field::Fixed32(u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]))
            }
            _ => return Err(self.error("an unknown kind of field")),
        };
        if key >> 3 == 0 {
            return Err(self.error("a field without a number"));
        }
        Ok(Some((key >> 3, field)))
    }
}

impl Model {
    pub fn parse(bytes: &[u8]) -> Result<Self> {
        let mut model = Model {
            pieces: Vec::new(),
            model_type: 1,
            byte_fallback: false,
            whitespace_as_suffix: false,
            charsmap: Vec::new(),
            add_dummy_prefix: true,
            remove_extra_whitespaces: true,
            escape_whitespaces: true,
        };
        let mut reader = Reader::new(bytes);
        while let Some(field) = reader.field()? {
            match field {
                (1, Field::Bytes(bytes)) => {
                    let id = model.pieces.len();
                    let piece = Piece::parse(bytes).map_err(|e| format!("piece {id}: {e}"))?;
                    model.pieces.push(piece);
                }
                (2, Field::Bytes(bytes)) => {
                    model
                        .trainer_spec(bytes)
                        .map_err(|e| format!("trainer_spec: {e}"))?;
                }
                (3, Field::Bytes(bytes)) => {
                    model
                        .normalizer_spec(bytes)
                        .map_err(|e| format!("normalizer_spec: {e}"))?;
                }
                _ => {}
            }
        }
        if model.pieces.is_empty() {
            return Err("not a SentencePiece model: there are no pieces in it".to_owned());
        }
        Ok(model)
    }

    fn trainer_spec(&mut self, bytes: &[u8]) -> Result<()> {
        let mut reader = Reader::new(bytes);
        while let Some(field) = reader.field()? {
            match field {
                (3, Field::Varint(value)) => self.model_type = value,
                (24, Field::Varint(value)) => self.whitespace_as_suffix = value != 0,
                (35, Field::Varint(value)) => self.byte_fallback = value != 0,
                _ => {}
            }
        }
        Ok(())
    }

    fn normalizer_spec(&mut self, bytes: &[u8]) -> Result<()> {
        let mut reader = Reader::new(bytes);
        while let Some(field) = reader.field()? {
            match field {
                (2, Field::Bytes(bytes)) => self.charsmap = bytes.to_vec(),
                (3, Field::Varint(value)) => self.add_dummy_prefix = value != 0,
                (4, Field::Varint(value)) => self.remove_extra_whitespaces = value != 0,
                (5, Field::Varint(value)) => self.escape_whitespaces = value != 0,
                _ => {}
            }
        }
        Ok(())
    }
}

impl Piece {
    fn parse(bytes: &[u8]) -> Result<Self> {
        let mut piece = Piece {
            text: String::new(),
            score: 0.0,
            kind: Kind::Normal,
        };
        let mut reader = Reader::new(bytes);
        while let Some(field) = reader.field()? {
            match field {
                (1, Field::Bytes(bytes)) => {
                    let text = std::str::from_utf8(bytes)
                        .map_err(|_| reader.error("a piece that is not UTF-8"))?;
                    piece.text = text.to_owned();
                }
                (2, Field::Fixed32(bits)) => piece.score = f32::from_bits(bits),
                (3, Field::Varint(value)) => {
                    piece.kind = match value {
                        1 => Kind::Normal,
                        2 => Kind::Unknown,
                        3 => Kind::Control,
                        4 => Kind::UserDefined,
                        5 => Kind::Unused,
                        6 => Kind::Byte,
                        _ => return Err(reader.error("a piece of an unknown type")),
                    }
                }
                _ => {}
            }
        }
        if piece.text.is_empty() {
            return Err("an empty piece".to_owned());
        }
        if !piece.score.is_finite() {
            return Err(format!("the score of {:?} is {}", piece.text, piece.score));
        }
        Ok(piece)
    }
}
