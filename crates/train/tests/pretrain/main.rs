//! Whole runs on small text: they learn, resume to the bit, refuse what does not fit, and make the same
//! model in one process or in several.

mod common;
#[cfg(any(feature = "cuda", feature = "wgpu"))]
mod device;
mod learn;
mod refusals;
mod resume;
mod together;
