//! Arithmetic for learning: products with either side transposed, and backward passes.
//!
//! Sums over rows run in blocks of fixed size that are added in order, so that no result depends
//! on the number of threads. The fused operations have plain twins in `albert-model`, composed of tensor
//! operations, against which their f32 forms are tested there.

pub mod activation;
pub mod attention;
pub mod cross_entropy;
pub mod dropout;
mod fill;
pub mod matmul;
pub(crate) mod memory;
pub mod norm;
pub mod optim;
mod vectorized;
