//! Sums along rows, and into rows.

use burn::tensor::backend::Backend;
use burn::tensor::{IndexingUpdateOp, Int, Tensor};

use super::super::sums::{STRETCH, stretch_of};
pub(super) use super::super::sums::{cut, of_columns};

/// The most numbers that the sums of parts may take: 256 MB.
const MOST: usize = 1 << 26;

/// Rows up to this width are one stretch each: there are enough rows.
const SHORT: usize = 1024;

/// The sum of each row of `x` `[n, width]`: `[n, 1]`.
pub(super) fn of_rows<B: Backend>(x: Tensor<B, 2>) -> Tensor<B, 2> {
    match stretches::<B>(&x) {
        None => x.sum_dim(1),
        Some(shape @ [rows, parts, _]) => {
            let sums = x.reshape(shape).sum_dim(2).reshape([rows, parts]);
            sums.sum_dim(1)
        }
    }
}

/// The greatest number of each row of `x` `[n, width]`: `[n, 1]`.
pub(super) fn highest_of_rows<B: Backend>(x: Tensor<B, 2>) -> Tensor<B, 2> {
    match stretches::<B>(&x) {
        None => x.max_dim(1),
        Some(shape @ [rows, parts, _]) => {
            let highest = x.reshape(shape).max_dim(2).reshape([rows, parts]);
            highest.max_dim(1)
        }
    }
}

/// The rows of `values` `[n, width]` added up where `indices` `[n]` says, of a matrix `[rows, width]`.
///
/// Burn adds one index after the other, in as many threads as there are columns. Here parts of the
/// indices are added side by side, each to a matrix of its own, and these then summed: the more parts,
/// the less waiting and the more memory to pass. The numbers of parts that balance the two on an H200,
/// with half a microsecond an index and 3.5 TB/s, are near enough elsewhere.
pub(super) fn scattered<B: Backend>(
    values: Tensor<B, 2>,
    indices: Tensor<B, 1, Int>,
    rows: usize,
) -> Tensor<B, 2> {
    let [count, width] = values.dims();
    let device = values.device();
    let balanced = (1.5e5 * count as f64 / (rows * width) as f64).sqrt() as usize;
    let most = (MOST / (rows * width)).min(count / STRETCH);
    let parts = balanced.clamp(1, most.max(1));
    let part = count.div_ceil(parts);
    let missing = parts * part - count;
    let (values, indices) = match missing {
        0 => (values, indices),
        // Nothing, added to some row.
        _ => {
            let zeros = Tensor::zeros([missing, width], &device);
            let some = indices.clone().narrow(0, 0, missing);
            let values = Tensor::cat(vec![values, zeros], 0);
            (values, Tensor::cat(vec![indices, some], 0))
        }
    };
    let values = values.reshape([parts, part, width]);
    let indices = indices.reshape([parts, part, 1]);
    let indices = indices.expand([parts, part, width]);
    let sums = Tensor::<B, 3>::zeros([parts, rows, width], &device);
    let sums = sums.scatter(1, indices, values, IndexingUpdateOp::Add);
    of_columns(sums.reshape([parts, rows * width])).reshape([rows, width])
}

/// How the rows of `x` fall into stretches, if they are long: `[rows, stretches, stretch]`.
fn stretches<B: Backend>(x: &Tensor<B, 2>) -> Option<[usize; 3]> {
    let [rows, width] = x.dims();
    let stretch = stretch_of(width);
    (width > SHORT && stretch > 1).then(|| [rows, width / stretch, stretch])
}
