//! Arithmetic on slices for transformer encoders on a CPU.
