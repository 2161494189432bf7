//! Arithmetic on slices for transformer encoders on a CPU.
//!
//! Slices in, slices out, shapes in the docs: this crate knows nothing of ALBERT. It has what an
//! encoder's forward pass needs,
//!
//! - [`PackedMatrix`]: products with weights that are packed once and used many times;
//! - [`QuantizedMatrix`]: the same with 8-bit integers, and [`QuantizedRows`] to multiply;
//! - [`attention`]: softmax attention over a ragged batch, without padding and without the full
//!   matrix of scores;
//! - [`layer_norm`] and [`add_layer_norm`];
//! - [`gelu_tanh`], [`gelu_erf`], [`relu`], [`tanh`], [`silu`];
//!
//! the [`ThreadPool`] that they split their work over, with [`available_threads`] to size it, and
//! [`Isa`] and [`detected_features`] to say what the processor has and what is used of it. The
//! instruction set is chosen at run time: one binary runs on every processor of its architecture.
//! [`training`] has what the way of learning needs.
//!
//! # Two promises
//!
//! The result for a row is the same to the bit whatever rows are beside it, wherever it stands and
//! however many threads run: no kernel picks its order of summation by the number of rows. And f32
//! means f32: no approximation coarser than a few units in the last place.
//!
//! ```
//! use albert_kernels::{PackedMatrix, ThreadPool, gelu_erf};
//!
//! // Two outputs of three inputs, as PyTorch's Linear holds its weight: [outputs, inputs].
//! let weight = PackedMatrix::new(&[1.0, 0.0, 0.0, 0.0, 2.0, 1.0], 2, 3);
//! let pool = ThreadPool::new(Some(2))?;
//!
//! let x = [1.0, 2.0, 3.0, -1.0, 0.0, 0.5]; // [rows, inputs]
//! let mut y = [0.0; 4]; // [rows, outputs]
//! pool.install(|| {
//!     weight.multiply(&x, Some(&[0.0, -7.0]), &mut y);
//!     assert_eq!(y, [1.0, 0.0, -1.0, -6.5]);
//!     gelu_erf(&mut y);
//! });
//! assert!((y[0] - 0.841_344_75).abs() < 1e-7);
//! # Ok::<(), albert_kernels::ThreadPoolError>(())
//! ```

mod activation;
mod attention;
mod blocks;
mod cgroup;
mod int8;
mod isa;
mod math;
mod norm;
mod packed;
mod peak;
mod split;
mod threads;
mod tile;
pub mod training;

pub use activation::{Activation, gelu_erf, gelu_tanh, relu, silu, tanh};
pub use attention::attention;
pub use blocks::{Spare, in_row_blocks};
pub use cgroup::{ControlGroup, control_groups};
pub use int8::{Dot, QuantizedMatrix, QuantizedRows, quantize_matrix};
pub use isa::{Isa, detected_features};
pub use norm::{add_layer_norm, layer_norm};
pub use packed::PackedMatrix;
pub use peak::{f32_peak, int8_peak};
pub use threads::{ThreadPool, ThreadPoolError, available_threads};
