//! Sums in short stretches, side by side.
//!
//! A device's plain reduction gives each result one thread, which reads what it sums one number after
//! the other: 32,000 tokens summed for 256 biases keep 256 threads busy for milliseconds, and the other
//! hundred thousand idle.

use burn::tensor::Tensor;
use burn::tensor::backend::Backend;

/// What one thread sums.
pub(super) const STRETCH: usize = 64;

/// The sum of each column of `x` `[n, width]`: `[width]`.
pub(super) fn of_columns<B: Backend>(mut x: Tensor<B, 2>) -> Tensor<B, 1> {
    let width = x.dims()[1];
    loop {
        let count = x.dims()[0];
        let stretches = count / STRETCH;
        if stretches <= 1 {
            return x.sum_dim(0).reshape([width]);
        }
        let whole = stretches * STRETCH;
        let rest = (whole < count).then(|| x.clone().narrow(0, whole, count - whole).sum_dim(0));
        let x_whole = match rest {
            Some(_) => x.narrow(0, 0, whole),
            None => x,
        };
        let sums = x_whole.reshape([stretches, STRETCH, width]).sum_dim(1);
        let sums = sums.reshape([stretches, width]);
        x = match rest {
            Some(rest) => Tensor::cat(vec![sums, rest], 0),
            None => sums,
        };
    }
}

/// The sum of all numbers of `x`, `[1]`.
pub fn of_all<B: Backend>(x: Tensor<B, 1>) -> Tensor<B, 1> {
    let [count] = x.dims();
    let width = stretch_of(count);
    let columns = of_columns(x.reshape([count / width, width]));
    of_columns(columns.reshape([width, 1]))
}

/// The greatest divisor of `count` of no more than two stretches.
pub(super) fn stretch_of(count: usize) -> usize {
    let longest = (2 * STRETCH).min(count);
    let divisor = (1..=longest).rev().find(|n| count.is_multiple_of(*n));
    divisor.unwrap_or(1)
}
