//! Text on its way to pieces: characters that know where they came from.

/// Characters with their spans in the original text, in characters of it.
#[derive(Clone, Debug, Default)]
pub(super) struct Symbols {
    pub chars: Vec<char>,
    pub spans: Vec<(u32, u32)>,
}

impl Symbols {
    pub fn push(&mut self, c: char, span: (u32, u32)) {
        self.chars.push(c);
        self.spans.push(span);
    }

    pub fn len(&self) -> usize {
        self.chars.len()
    }

    pub fn truncate(&mut self, len: usize) {
        self.chars.truncate(len);
        self.spans.truncate(len);
    }

    pub fn with_capacity(capacity: usize) -> Self {
        Self {
            chars: Vec::with_capacity(capacity),
            spans: Vec::with_capacity(capacity),
        }
    }
}
