//! Pretraining: corpora, masking, sentence order, optimisers, the loop.
