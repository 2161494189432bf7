//! Products of 8-bit integers: weights quantised once, rows as they come.
//!
//! A weight has one scale for each output and lies in -127..=127; a row has a scale and a zero point
//! of its own and lies in 0..=255. With them
//!
//! ```text
//! x[i] ~ scale * (q[i] - zero),    w[o][i] ~ scales[o] * v[o][i],
//! x wᵀ ~ scale * scales[o] * (sum of q[i] * v[o][i]  -  zero * sum of v[o][i]).
//! ```
//!
//! The sums are of 32-bit integers and exact, so that they are the same on every instruction set,
//! for every split over threads and whatever rows are beside a row.

mod centred;
pub(crate) mod dot;
mod matrix;
mod rows;

pub use dot::Dot;
pub use matrix::{QuantizedMatrix, quantize_matrix};
pub use rows::QuantizedRows;
