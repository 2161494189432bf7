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
        let stretches = x.dims()[0] / STRETCH;
        if stretches <= 1 {
            return x.sum_dim(0).reshape([width]);
        }
        let (whole, rest) = cut(x, stretches, STRETCH);
        let sums = whole.sum_dim(1).reshape([stretches, width]);
        x = match rest {
            Some(rest) => Tensor::cat(vec![sums, rest.sum_dim(0)], 0),
            None => sums,
        };
    }
}

/// The rows of `x` `[n, width]` in so many parts of so many rows `[parts, part, width]`, and those left
/// over, if there are any.
pub(super) fn cut<B: Backend>(
    x: Tensor<B, 2>,
    parts: usize,
    part: usize,
) -> (Tensor<B, 3>, Option<Tensor<B, 2>>) {
    let [count, width] = x.dims();
    let shape = [parts, part, width];
    match count - parts * part {
        0 => (x.reshape(shape), None),
        left => {
            let whole = x.clone().narrow(0, 0, count - left).reshape(shape);
            (whole, Some(x.narrow(0, count - left, left)))
        }
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
