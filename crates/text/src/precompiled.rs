//! Compiled normalisation rules in a `tokenizer.json`, checked before the `tokenizers` crate follows
//! them: it indexes their trie without looking, and a damaged one would end the program.

use serde_json::Value;

use crate::layout_file::RulesFile;

/// Checks the rules of every `Precompiled` normalizer of a file.
///
/// # Errors
/// What is wrong with the first that is broken.
pub(crate) fn check_file(file: &RulesFile) -> Result<(), String> {
    check_normalizer(&file.normalizer)
        .map_err(|reason| format!("damaged precompiled_charsmap: {reason}"))
}

fn check_normalizer(normalizer: &Value) -> Result<(), String> {
    // Deep nesting is no danger: the JSON parser has a limit.
    if let Some(parts) = normalizer["normalizers"].as_array() {
        parts.iter().try_for_each(check_normalizer)?;
    }
    match normalizer["precompiled_charsmap"].as_str() {
        Some(rules) => check(&decode(rules)?),
        None => Ok(()),
    }
}

/// Walks the whole trie: every step from a node must stay inside, and every value must be the place
/// of a replacement.
fn check(rules: &[u8]) -> Result<(), String> {
    let (length, rest) = rules
        .split_first_chunk::<4>()
        .ok_or("it has no trie's length")?;
    let length = u32::from_le_bytes(*length) as usize / 4 * 4;
    let (trie, pool) = rest
        .split_at_checked(length)
        .ok_or("its trie is cut short")?;
    let units: Vec<usize> = trie
        .chunks_exact(4)
        .map(|unit| u32::from_le_bytes([unit[0], unit[1], unit[2], unit[3]]) as usize)
        .collect();
    let pool = std::str::from_utf8(pool).map_err(|_| "its replacements are not UTF-8")?;

    // A unit's label says from which base it is reached: the children of each base, linked. The place
    // of the root, which is no child, ends a list.
    let label = |unit: usize| unit & (1 << 31 | 0xFF);
    let (mut first, mut next) = (vec![0; units.len() + 0xFF], vec![0; units.len()]);
    for (at, unit) in units.iter().enumerate().skip(1) {
        if (1..=255).contains(&label(*unit)) {
            let base = at ^ label(*unit);
            next[at] = std::mem::replace(&mut first[base], at);
        }
    }
    let mut open = vec![0];
    while let Some(node) = open.pop() {
        let unit = *units.get(node).ok_or("its trie is empty")?;
        let base = node ^ ((unit >> 10) << ((unit & (1 << 9)) >> 6));
        if node != 0 && unit & (1 << 8) != 0 {
            let value = units.get(base).map(|leaf| leaf & 0x7FFF_FFFF);
            if !value.is_some_and(|start| pool.is_char_boundary(start)) {
                return Err("a value of its trie is no replacement's place".to_owned());
            }
        }
        // The crate looks at the unit of whatever byte comes, and a NUL ends a key.
        // All but the base itself of 256 units.
        let farthest = if base & 0xFF == 0xFF {
            base - 1
        } else {
            base | 0xFF
        };
        if farthest >= units.len() {
            return Err("a step of its trie leads outside".to_owned());
        }
        // Each child once, whoever else has the same base.
        let mut child = std::mem::take(&mut first[base]);
        while child != 0 {
            open.push(child);
            child = next[child];
        }
    }
    Ok(())
}

/// Base64 that the `tokenizers` crate has accepted.
fn decode(text: &str) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::with_capacity(text.len() / 4 * 3);
    let (mut bits, mut count) = (0_u32, 0);
    for c in text.trim_end_matches('=').bytes() {
        let digit = match c {
            b'A'..=b'Z' => c - b'A',
            b'a'..=b'z' => c - b'a' + 26,
            b'0'..=b'9' => c - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            _ => return Err("it is not base64".to_owned()),
        };
        bits = bits << 6 | u32::from(digit);
        count += 6;
        if count >= 8 {
            count -= 8;
            bytes.push((bits >> count) as u8);
        }
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// Rules of 512 units, all without edges but those given.
    fn rules(edges: &[(usize, u32)], pool: &[u8]) -> Vec<u8> {
        let mut units = [0_u32; 512];
        for &(at, unit) in edges {
            units[at] = unit;
        }
        let mut bytes = (4 * units.len() as u32).to_le_bytes().to_vec();
        bytes.extend(units.iter().flat_map(|unit| unit.to_le_bytes()));
        [&bytes, pool].concat()
    }

    #[test]
    fn whole_rules_pass_and_broken_ones_do_not() {
        // The root's children start at 256; `a` (0x61) has a value, in the unit at 256 ^ 0x61 ^ 1.
        let root = (0, 256 << 10);
        let a = (256 ^ 0x61, 1 << 10 | 1 << 8 | 0x61);
        let leaf = |value: u32| (256 ^ 0x60, 1 << 31 | value);
        check(&rules(&[root, a, leaf(0)], b"b\0")).unwrap();
        for (edges, pool, wanted) in [
            (vec![root, a, leaf(9)], &b"b\0"[..], "no replacement"),
            (vec![root, a, leaf(1)], "é\0".as_bytes(), "no replacement"),
            (vec![(0, 512 << 10)], b"", "leads outside"),
            (
                vec![root, (256 ^ 0x61, 4096 << 10 | 0x61)],
                b"",
                "leads outside",
            ),
            (vec![root], b"\xFF", "not UTF-8"),
        ] {
            let error = check(&rules(&edges, pool)).unwrap_err();
            assert!(error.contains(wanted), "{wanted}: {error}");
        }
        for (bytes, wanted) in [
            (&[][..], "no trie's length"),
            (&[0; 4], "empty"),
            (&[4, 0, 0, 0, 1], "cut short"),
            (&[4, 0, 0, 0, 0, 0, 0, 0], "leads outside"),
        ] {
            let error = check(bytes).unwrap_err();
            assert!(error.contains(wanted), "{wanted}: {error}");
        }
    }

    #[test]
    fn base64_is_read() {
        for (text, bytes) in [
            ("", &b""[..]),
            ("Zg==", b"f"),
            ("Zm8=", b"fo"),
            ("Zm9vYmE+/w==", b"foo\x62\x61>\xFF"),
        ] {
            assert_eq!(decode(text).unwrap(), bytes);
        }
        assert!(decode("a b").is_err());
    }

    #[test]
    fn normalizers_within_normalizers_are_checked() {
        let broken = json!({"type": "Precompiled", "precompiled_charsmap": "AAAAAA=="});
        let nested = json!({"type": "Sequence", "normalizers": [
            {"type": "Lowercase"}, {"type": "Sequence", "normalizers": [broken]},
        ]});
        let file = |normalizer| RulesFile {
            normalizer,
            ..RulesFile::default()
        };
        assert!(check_file(&file(nested)).is_err());
        check_file(&file(Value::Null)).unwrap();
    }
}
