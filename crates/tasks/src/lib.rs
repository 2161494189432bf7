//! From text to features, from logits to an answer.
