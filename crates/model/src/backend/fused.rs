//! The operations as kernels on the CPU.

use burn::backend::autodiff::checkpoint::strategy::CheckpointStrategy;
use burn::backend::{Autodiff, Flex};

use super::AlbertBackend;

impl AlbertBackend for Flex {
    const HOST: bool = true;
}

impl<C: CheckpointStrategy> AlbertBackend for Autodiff<Flex, C> {
    const HOST: bool = true;
}
