//! Rows that go through several operations a block at a time.

use std::sync::{Mutex, PoisonError};

use rayon::prelude::*;

/// Rows of a block, where there are enough: what lies between two operations on them stays in the
/// second cache, and every weight that is fetched meets enough rows to hide the fetching.
const ROWS: usize = 64;

/// Rows below which a block of its own would wait for weights more than it computes.
const FEWEST: usize = 40;

/// Memory of several threads, each with some of its own while it works; kept for later.
#[derive(Default)]
pub struct Spare<W>(Mutex<Vec<W>>);

impl<W: Default> Spare<W> {
    /// Runs `work` with memory that nobody else has meanwhile.
    pub fn with<R>(&self, work: impl FnOnce(&mut W) -> R) -> R {
        let spare = self.0.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let mut memory = spare.unwrap_or_default();
        let result = work(&mut memory);
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.push(memory);
        result
    }
}

/// Takes `rows` rows of `x` and of `out` through `task` in blocks, over the current pool: a thread
/// takes a block through all operations of `task`, and whoever has no block left helps with the
/// products of another's.
///
/// Few rows are one block, whose products every thread has a part of. `task` must treat every row
/// by itself: then blocks change nothing in the result.
///
/// # Panics
/// If either slice is not `rows` whole rows.
pub fn in_row_blocks<W: Default + Send>(
    rows: usize,
    x: &[f32],
    out: &mut [f32],
    spare: &Spare<W>,
    task: impl Fn(&[f32], &mut [f32], &mut W) + Sync,
) {
    if rows == 0 {
        return;
    }
    assert!(x.len().is_multiple_of(rows), "elements of the rows");
    assert!(out.len().is_multiple_of(rows), "elements of the result");
    let block = block_rows(rows, rayon::current_num_threads());
    if block >= rows {
        return spare.with(|memory| task(x, out, memory));
    }
    let (width, out_width) = (x.len() / rows, out.len() / rows);
    // A chunk of nothing would be refused; rows of nothing have no chunks.
    out.par_chunks_mut((block * out_width).max(1))
        .zip(x.par_chunks((block * width).max(1)))
        .with_max_len(1)
        .for_each(|(out, x)| spare.with(|memory| task(x, out, memory)));
}

/// Rows of each block but the last: as many blocks as keep every thread busy, all of one size, in
/// steps of what the products compute at once.
fn block_rows(rows: usize, threads: usize) -> usize {
    if threads > 1 && rows < 2 * FEWEST {
        return rows;
    }
    let blocks = match threads {
        1 => rows.div_ceil(ROWS),
        _ => rows
            .div_ceil(ROWS)
            .next_multiple_of(threads)
            .min(rows / FEWEST),
    };
    rows.div_ceil(blocks).next_multiple_of(4)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_is_in_one_block() {
        for threads in [1, 2, 3, 8] {
            let pool = crate::ThreadPool::new(Some(threads)).unwrap();
            for rows in [0, 1, 7, 79, 80, 81, 128, 383, 1024] {
                let x: Vec<f32> = (0..2 * rows).map(|i| i as f32).collect();
                let mut out = vec![0.0; 3 * rows];
                let spare = Spare::<Vec<f32>>::default();
                pool.install(|| {
                    in_row_blocks(rows, &x, &mut out, &spare, |x, out, memory| {
                        memory.clear();
                        memory.extend(x);
                        for (out, x) in out.chunks_exact_mut(3).zip(memory.chunks_exact(2)) {
                            out[0] += x[0];
                            out[2] += x[1];
                        }
                    });
                });
                let expected = x.chunks_exact(2).flat_map(|x| [x[0], 0.0, x[1]]);
                assert_eq!(out, expected.collect::<Vec<f32>>());
            }
        }
    }

    #[test]
    fn blocks_are_as_many_as_the_threads_can_use() {
        assert_eq!(block_rows(16, 2), 16);
        assert_eq!(block_rows(128, 2), 64);
        assert_eq!(block_rows(1024, 2), 64);
        assert_eq!(block_rows(1024, 1), 64);
        assert_eq!(block_rows(90, 8), 48);
    }
}
