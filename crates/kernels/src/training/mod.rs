//! Arithmetic for learning: products with either side transposed, and backward passes.
//!
//! Sums over rows run in blocks of fixed size that are added in order, so that no result depends
//! on the number of threads.

pub mod dropout;
pub mod matmul;
pub mod optim;
