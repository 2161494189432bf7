//! One result that several threads write.
#![allow(unsafe_code)]

use std::ops::Range;

use rayon::prelude::*;

/// Splits a product into blocks of rows and groups of panels and runs `task` on each, over the
/// current pool.
///
/// Blocks have at most `block` rows, which is a number of whole tiles of `tile` rows, and are of even
/// size; there are so many groups of panels that every thread gets a few tasks, to even out what
/// else the processor has to do. Which task an element falls to changes nothing in how it is computed.
pub(crate) fn in_blocks(
    rows: usize,
    tile: usize,
    block: usize,
    panels: usize,
    task: impl Fn(Range<usize>, Range<usize>) + Sync,
) {
    let tiles = rows.div_ceil(tile);
    let row_blocks = rows.div_ceil(block);
    let threads = rayon::current_num_threads();
    let groups = match threads {
        1 => 1,
        _ => (4 * threads)
            .div_ceil(row_blocks)
            .next_multiple_of(threads)
            .min(panels),
    };
    let task = |index: usize| {
        let tiles = part(tiles, row_blocks, index / groups);
        let rows = tiles.start * tile..rows.min(tiles.end * tile);
        task(rows, part(panels, groups, index % groups));
    };
    let tasks = row_blocks * groups;
    if tasks == 1 || threads == 1 {
        (0..tasks).for_each(task);
    } else {
        (0..tasks).into_par_iter().with_max_len(1).for_each(task);
    }
}

/// The `index`-th of `parts` parts of `0..len` whose sizes differ by at most one.
fn part(len: usize, parts: usize, index: usize) -> Range<usize> {
    len * index / parts..len * (index + 1) / parts
}

/// A result that several threads write, each elements of its own.
#[derive(Clone, Copy)]
pub(crate) struct OutPointer(pub(crate) *mut f32);

// SAFETY: whoever writes through the pointer sees to it that no two threads share an element.
unsafe impl Send for OutPointer {}
// SAFETY: as above.
unsafe impl Sync for OutPointer {}
