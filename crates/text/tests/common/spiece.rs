//! A small SentencePiece model, written byte by byte.

/// The number that a type of piece has in the format.
pub const NORMAL: u64 = 1;
pub const UNKNOWN: u64 = 2;
pub const CONTROL: u64 = 3;
pub const USER_DEFINED: u64 = 4;

fn varint(mut value: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    while value >= 0x80 {
        bytes.push(value as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
    bytes
}

/// A field that holds bytes.
pub fn bytes_field(number: u64, content: &[u8]) -> Vec<u8> {
    [
        varint(number << 3 | 2),
        varint(content.len() as u64),
        content.to_vec(),
    ]
    .concat()
}

/// A field that holds a number.
pub fn number_field(number: u64, value: u64) -> Vec<u8> {
    [varint(number << 3), varint(value)].concat()
}

/// A piece as a field of the model.
pub fn piece(text: &str, score: f32, kind: u64) -> Vec<u8> {
    let score = [varint(2 << 3 | 5), score.to_le_bytes().to_vec()].concat();
    let content = [
        bytes_field(1, text.as_bytes()),
        score,
        number_field(3, kind),
    ]
    .concat();
    bytes_field(1, &content)
}

/// ALBERT's five special pieces.
pub fn specials() -> Vec<u8> {
    [
        piece("<pad>", 0.0, CONTROL),
        piece("<unk>", 0.0, UNKNOWN),
        piece("[CLS]", 0.0, CONTROL),
        piece("[SEP]", 0.0, CONTROL),
        piece("[MASK]", 0.0, CONTROL),
    ]
    .concat()
}

/// A model of a few pieces without compiled rules.
pub fn small_model() -> Vec<u8> {
    let mut model = specials();
    model.extend(piece(".", 0.0, USER_DEFINED));
    for (text, score) in [
        ("▁", -3.0),
        ("▁the", -3.2),
        ("s", -3.5),
        (",", -3.6),
        ("▁hello", -7.0),
        ("▁world", -7.1),
        ("lo", -6.0),
        ("▁hel", -9.0),
        ("▁1,", -5.0),
        ("1", -6.5),
        ("▁1", -5.5),
        ("a", -6.0),
        ("b", -6.1),
        ("c", -6.2),
        ("fi", -8.0),
        ("f", -8.1),
        ("i", -6.6),
        ("\"", -5.0),
    ] {
        model.extend(piece(text, score, NORMAL));
    }
    model
}
