//! ALBERT as differentiable modules, on any device.
//!
//! The way of learning: `train` feeds batches to [`AlbertForPreTraining`] (masked words and
//! sentence order, Lan et al. 2019, section 3.1), takes gradients and hands the parameters to an
//! optimiser; what comes out is a checkpoint folder that every ALBERT tool reads. For the way of
//! use, where nothing is differentiated, see `albert-engine`; tests hold both against the
//! same reference outputs.
//!
//! The modules read top-down: [`AlbertForPreTraining`] and [`AlbertForTask`] put heads on
//! [`Albert`], which embeds and then applies the shared layers that `layer.rs` describes.
//! Everything between is a matrix `[tokens, width]`: rows lie end to end ([`Rows`]) and padding
//! is dropped before the first product.
//!
//! The modules are generic over [`AlbertBackend`], Burn's backends with ALBERT's few heavy
//! operations. On the CPU these are fused kernels with backward passes of their own; elsewhere
//! they are composed of Burn's operations, with backward passes written out.
//!
//! ```
//! use albert_checkpoint::{AlbertConfig, Architecture};
//! use albert_model::{AlbertForPreTraining, Cpu, PretrainBatch};
//!
//! let mut config = AlbertConfig::preset("tiny").ok_or("no such preset")?;
//! config.architecture = Architecture::PreTraining;
//! let device = Default::default();
//! let model = AlbertForPreTraining::<Cpu>::init(&config, 0, &device)?;
//!
//! // [CLS] a b [SEP] c [SEP], with `b` masked, and in order.
//! let batch = PretrainBatch::from_rows(
//!     &[vec![2, 10, 4, 3, 12, 3]],
//!     &[vec![0, 0, 0, 0, 1, 1]],
//!     &[(0, 2, 11)],
//!     &[0],
//!     &device,
//! )?;
//! let output = model.forward(&batch, None)?;
//! assert_eq!(output.masked_lm_logits.dims(), [1, config.vocab_size]);
//! let gradients = output.loss.backward();
//! # let _ = gradients;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod albert;
mod backend;
mod batch;
mod device;
mod dropout;
mod embeddings;
mod error;
mod heads;
mod initial;
mod layer;
mod parameters;
mod pretraining;
mod rows;
mod task;

pub use albert::{Albert, AlbertOutput};
pub use backend::{AlbertBackend, Precision, Shared, TrainingBackend, sum_in_stretches};
pub use batch::{InputBatch, PretrainBatch};
pub use device::check_device;
pub use dropout::DropoutKey;
pub use error::{Error, Result};
pub use heads::{Linear, MaskedLmHead, Norm};
pub use parameters::{NamedParameters, parameter_id};
pub use pretraining::{AlbertForPreTraining, PretrainOutput};
pub use rows::{Rows, Selection};
pub use task::{AlbertForTask, TaskOutput};

/// The CPU backend that learning runs on: Burn's Flex, differentiated.
pub type Cpu = burn::backend::Autodiff<burn::backend::Flex>;

/// Learning on an NVIDIA GPU by CUDA; its device is [`CudaDevice`].
#[cfg(feature = "cuda")]
pub type Cuda = burn::backend::Autodiff<burn::backend::Cuda>;
#[cfg(feature = "cuda")]
pub use burn::backend::cuda::CudaDevice;

/// Learning on any GPU by wgpu; its device is [`WgpuDevice`].
#[cfg(feature = "wgpu")]
pub type Wgpu = burn::backend::Autodiff<burn::backend::Wgpu>;
#[cfg(feature = "wgpu")]
pub use burn::backend::wgpu::WgpuDevice;
