//! SentencePiece's compiled normalisation rules: a double-array trie from UTF-8 strings to offsets
//! into a pool of NUL-terminated replacements.

/// The rules of a `precompiled_charsmap`.
#[derive(Debug, Default)]
pub(super) struct CharsMap {
    units: Vec<u32>,
    pool: String,
    /// ASCII characters that stay as they are before another ASCII character or the end.
    plain: Vec<bool>,
}

/// A step through the trie: the node's offset base.
fn offset(unit: u32) -> usize {
    ((unit >> 10) << ((unit & (1 << 9)) >> 6)) as usize
}

/// The byte on the edge into a node; values have the top bit set and equal no byte.
fn label(unit: u32) -> u32 {
    unit & (0x8000_0000 | 0xFF)
}

/// Whether a key ends at a node.
fn has_value(unit: u32) -> bool {
    unit & (1 << 8) != 0
}

/// The value at a leaf.
fn value(unit: u32) -> usize {
    (unit & 0x7FFF_FFFF) as usize
}

impl CharsMap {
    /// Reads `<length of the trie in bytes: u32><trie><pool>`; no bytes mean no rules.
    pub fn parse(bytes: &[u8]) -> Result<Self, String> {
        if bytes.is_empty() {
            return Ok(Self {
                plain: vec![true; 128],
                ..Self::default()
            });
        }
        let damaged = |what: &str| format!("damaged precompiled_charsmap: {what}");
        let (length, rest) = bytes
            .split_first_chunk::<4>()
            .ok_or_else(|| damaged("it is too short"))?;
        let length = u32::from_le_bytes(*length) as usize;
        if length >= rest.len() || !length.is_multiple_of(4) || length == 0 {
            return Err(damaged("the length of its trie is wrong"));
        }
        let (trie, pool) = rest.split_at(length);
        let units = trie
            .chunks_exact(4)
            .map(|bytes| u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]))
            .collect();
        let pool = std::str::from_utf8(pool)
            .map_err(|_| damaged("its replacements are not UTF-8"))?
            .to_owned();
        let mut map = Self {
            units,
            pool,
            plain: Vec::new(),
        };
        map.plain = (0..128)
            .map(|byte| {
                let Some(node) = map.step(map.root(), byte) else {
                    return true;
                };
                let unit = map.units[node];
                !has_value(unit) && (0..128).all(|next| map.step(node, next).is_none())
            })
            .collect();
        Ok(map)
    }

    fn root(&self) -> usize {
        0
    }

    fn step(&self, node: usize, byte: u8) -> Option<usize> {
        let next = node ^ offset(*self.units.get(node)?) ^ usize::from(byte);
        (label(*self.units.get(next)?) == u32::from(byte)).then_some(next)
    }

    /// Whether any rule applies to a string with a space in it, or makes U+2581 of something.
    pub fn has_spaces(&self) -> bool {
        if self.pool.contains(super::SPACE) {
            return true;
        }
        let mut seen = vec![false; self.units.len()];
        let mut open = vec![self.root()];
        while let Some(node) = open.pop() {
            for byte in 1..=u8::MAX {
                let Some(next) = self.step(node, byte) else {
                    continue;
                };
                if byte == b' ' {
                    return true;
                }
                if !std::mem::replace(&mut seen[next], true) {
                    open.push(next);
                }
            }
        }
        false
    }

    /// The longest rule that applies at the start of `chars`: how many characters it takes and what
    /// it puts in their place.
    pub fn longest(&self, chars: &[char]) -> Option<(usize, &str)> {
        let first = *chars.first()?;
        let followed_plainly = chars.get(1).is_none_or(char::is_ascii);
        if first.is_ascii() && followed_plainly && self.plain[first as usize] {
            return None;
        }
        let mut found = None;
        let mut node = self.root();
        'walk: for (at, c) in chars.iter().enumerate() {
            for &byte in c.encode_utf8(&mut [0; 4]).as_bytes() {
                match self.step(node, byte) {
                    Some(next) => node = next,
                    None => break 'walk,
                }
            }
            let unit = self.units[node];
            if has_value(unit) {
                found = self
                    .units
                    .get(node ^ offset(unit))
                    .map(|&leaf| (at + 1, value(leaf)));
            }
        }
        let (taken, start) = found?;
        let replacement = self.pool.get(start..)?;
        Some((taken, replacement.split('\0').next().unwrap_or_default()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_rules_change_nothing() {
        let map = CharsMap::parse(&[]).unwrap();
        for text in ["a", "é", "\u{1F600}"] {
            assert_eq!(map.longest(&text.chars().collect::<Vec<_>>()), None);
        }
    }

    #[test]
    fn damaged_rules_are_refused() {
        for bytes in [&[1_u8, 0][..], &[8, 0, 0, 0, 1], &[0xFF; 64], &[0; 64]] {
            assert!(CharsMap::parse(bytes).is_err(), "{bytes:?}");
        }
        let mut bytes = vec![4, 0, 0, 0, 0, 0, 0, 0];
        bytes.push(0xFF);
        assert!(CharsMap::parse(&bytes).is_err(), "the pool is not UTF-8");
    }
}
