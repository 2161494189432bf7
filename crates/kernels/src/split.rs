//! One result that several threads write.
#![allow(unsafe_code)]

use std::ops::Range;

/// The `index`-th of `parts` parts of `0..len` whose sizes differ by at most one.
pub(crate) fn part(len: usize, parts: usize, index: usize) -> Range<usize> {
    len * index / parts..len * (index + 1) / parts
}

/// A result that several threads write, each elements of its own.
#[derive(Clone, Copy)]
pub(crate) struct OutPointer(pub(crate) *mut f32);

// SAFETY: whoever writes through the pointer sees to it that no two threads share an element.
unsafe impl Send for OutPointer {}
// SAFETY: as above.
unsafe impl Sync for OutPointer {}
