//! New slices, filled in parallel.

// Tasks write disjoint blocks, and a Vec takes its length when all are written.
#![allow(unsafe_code)]

use rayon::prelude::*;

/// `N` new slices of `count` numbers, whose blocks of `block` are filled in parallel: `fill` gets
/// a block's index and the blocks, all zero. What it returns is returned in the blocks' order.
///
/// A block is cleared by the task that fills it, while it is in that thread's cache; clearing the
/// whole slice first would be one more pass through memory on one thread.
pub(super) fn filled<const N: usize, R: Send>(
    count: usize,
    block: usize,
    fill: impl Fn(usize, [&mut [f32]; N]) -> R + Sync,
) -> ([Vec<f32>; N], Vec<R>) {
    let block = block.max(1);
    let mut slices: [Vec<f32>; N] = std::array::from_fn(|_| Vec::with_capacity(count));
    let starts = slices.each_mut().map(|slice| Start(slice.as_mut_ptr()));
    let task = |index: usize| {
        let first = index * block;
        let length = block.min(count - first);
        let blocks = starts.each_ref().map(|start| {
            let start = start.at(first);
            // SAFETY: `first + length <= count`, which is the slice's capacity; no other task
            // has this block; zero bytes are the number 0.
            unsafe {
                start.write_bytes(0, length);
                std::slice::from_raw_parts_mut(start, length)
            }
        });
        fill(index, blocks)
    };
    let results = (0..count.div_ceil(block))
        .into_par_iter()
        .with_max_len(1)
        .map(task)
        .collect();
    for slice in &mut slices {
        // SAFETY: the blocks cover `count` elements, and each was cleared.
        unsafe { slice.set_len(count) };
    }
    (slices, results)
}

struct Start(*mut f32);

impl Start {
    fn at(&self, index: usize) -> *mut f32 {
        self.0.wrapping_add(index)
    }
}

// SAFETY: tasks write disjoint blocks of what the pointer leads to, and `filled` outlives them.
unsafe impl Sync for Start {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_are_whole_zero_and_in_order() {
        for (count, block) in [(0, 4), (1, 4), (4, 4), (11, 4), (5, 0)] {
            let ([a, b], sizes) = filled(count, block, |index, [a, b]| {
                assert!(a.iter().chain(&*b).all(|&x| x == 0.0));
                a.fill(index as f32);
                b.fill(1.0);
                a.len()
            });
            let block = block.max(1);
            let expected: Vec<f32> = (0..count).map(|i| (i / block) as f32).collect();
            assert_eq!(a, expected);
            assert_eq!(b, vec![1.0; count]);
            assert_eq!(sizes.iter().sum::<usize>(), count);
        }
    }
}
