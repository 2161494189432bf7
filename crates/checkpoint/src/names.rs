//! The names that one tensor has had in files over the years.

use std::borrow::Cow;

/// Parts of the encoder, which some files name without the prefix.
const ENCODER_PARTS: [&str; 3] = ["embeddings.", "encoder.", "pooler."];

/// The decoder of the masked-LM head, tied to the word embeddings.
pub(crate) const DECODER_WEIGHT: &str = "predictions.decoder.weight";
/// The same parameter as [`PREDICTIONS_BIAS`].
pub(crate) const DECODER_BIAS: &str = "predictions.decoder.bias";
pub(crate) const PREDICTIONS_BIAS: &str = "predictions.bias";
pub(crate) const WORD_EMBEDDINGS: &str = "albert.embeddings.word_embeddings.weight";

/// Counting buffers that older versions of transformers saved.
pub(crate) fn is_buffer(canonical: &str) -> bool {
    matches!(
        canonical,
        "albert.embeddings.position_ids" | "albert.embeddings.token_type_ids"
    )
}

/// The canonical name of a tensor: with `albert.` before the encoder's parts,
/// and `weight` and `bias` for TensorFlow's `gamma` and `beta`.
pub(crate) fn canonical(name: &str) -> Cow<'_, str> {
    let renamed = if let Some(front) = name.strip_suffix(".gamma") {
        Cow::Owned(format!("{front}.weight"))
    } else if let Some(front) = name.strip_suffix(".beta") {
        Cow::Owned(format!("{front}.bias"))
    } else {
        Cow::Borrowed(name)
    };
    if ENCODER_PARTS.iter().any(|part| renamed.starts_with(part)) {
        Cow::Owned(format!("albert.{renamed}"))
    } else {
        renamed
    }
}

/// The name under which transformers saves a tensor: a model without heads is
/// the encoder itself, and its tensors have no prefix.
pub(crate) fn saved(canonical: &str, has_heads: bool) -> &str {
    if has_heads {
        canonical
    } else {
        canonical.strip_prefix("albert.").unwrap_or(canonical)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_spelling_leads_to_one_name() {
        for (name, expected) in [
            (
                "embeddings.LayerNorm.gamma",
                "albert.embeddings.LayerNorm.weight",
            ),
            (
                "albert.embeddings.LayerNorm.beta",
                "albert.embeddings.LayerNorm.bias",
            ),
            ("pooler.weight", "albert.pooler.weight"),
            (
                "predictions.LayerNorm.gamma",
                "predictions.LayerNorm.weight",
            ),
            ("albert.pooler.bias", "albert.pooler.bias"),
            ("classifier.weight", "classifier.weight"),
            ("module.albert.pooler.bias", "module.albert.pooler.bias"),
        ] {
            assert_eq!(canonical(name), expected);
        }
        assert_eq!(saved("albert.pooler.weight", false), "pooler.weight");
        assert_eq!(saved("albert.pooler.weight", true), "albert.pooler.weight");
    }
}
