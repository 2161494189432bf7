//! ALBERT's forward pass on a CPU, over ragged batches.
