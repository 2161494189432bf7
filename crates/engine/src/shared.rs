//! What several models have in common, in memory once.

use std::collections::HashMap;
use std::sync::Arc;

use albert_checkpoint::{Checkpoint, TensorView};
use xxhash_rust::xxh3::Xxh3;

use crate::engine::Precision;
use crate::error::Result;
use crate::layer::Layer;

/// Word embeddings and layers of engines that are loaded one after another: what has the same
/// numbers and the same arithmetic is kept once, wherever it came from.
///
/// Heads over a frozen encoder have all of it in common, heads that were trained whole from one
/// model perhaps its word embeddings.
#[derive(Default)]
pub struct Shared {
    words: HashMap<u128, Arc<Vec<f32>>>,
    layers: HashMap<u128, Arc<Layer>>,
}

impl Shared {
    /// Nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// The word embeddings, `[vocab_size, embedding_size]`.
    pub(crate) fn words(&mut self, tensor: &TensorView<'_>) -> Arc<Vec<f32>> {
        let mut hash = Xxh3::new();
        add(&mut hash, tensor);
        let read = || read_words(tensor);
        Arc::clone(self.words.entry(hash.digest128()).or_insert_with(read))
    }

    /// The layer `inner` of group `group`, packed.
    pub(crate) fn layer(
        &mut self,
        checkpoint: &Checkpoint,
        group: usize,
        inner: usize,
        precision: Precision,
    ) -> Result<Arc<Layer>> {
        let config = checkpoint.config();
        let mut hash = Xxh3::new();
        // All of the configuration that a layer reads.
        let read = (
            precision,
            config.num_attention_heads,
            config.hidden_act,
            config.layer_norm_eps.to_bits(),
            &config.int8_skip_modules,
        );
        hash.update(format!("{read:?}").as_bytes());
        let name = Layer::name(group, inner);
        for tensor in checkpoint.tensors() {
            if let Some(part) = tensor.name.strip_prefix(&name) {
                hash.update(part.as_bytes());
                add(&mut hash, &tensor);
                checkpoint.release();
            }
        }
        let key = hash.digest128();
        if let Some(layer) = self.layers.get(&key) {
            return Ok(Arc::clone(layer));
        }
        let layer = Arc::new(Layer::load(checkpoint, group, inner, precision)?);
        self.layers.insert(key, Arc::clone(&layer));
        Ok(layer)
    }
}

/// The numbers of the word embeddings.
pub(crate) fn read_words(tensor: &TensorView<'_>) -> Arc<Vec<f32>> {
    Arc::new(tensor.to_f32().into_owned())
}

/// A tensor's format, shape and numbers.
fn add(hash: &mut Xxh3, tensor: &TensorView<'_>) {
    hash.update(format!("{} {:?}", tensor.dtype, tensor.shape).as_bytes());
    hash.update(tensor.bytes());
    hash.update(tensor.scale_bytes());
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::{Batch, Engine, EngineOptions, What};

    fn load(name: &str, precision: Precision, shared: &mut Shared) -> Engine {
        let models = concat!(env!("CARGO_MANIFEST_DIR"), "/../../models");
        let checkpoint = Checkpoint::open(&Path::new(models).join(name)).unwrap();
        let options = EngineOptions {
            precision,
            ..EngineOptions::default()
        };
        Engine::load_with(&checkpoint, options, shared).unwrap()
    }

    fn words(engine: &Engine) -> &Arc<Vec<f32>> {
        engine.model().embeddings.shared_words()
    }

    #[test]
    fn what_is_the_same_is_kept_once_and_nothing_else() {
        let mut shared = Shared::new();
        let qa = load("qa", Precision::F32, &mut shared);
        let again = load("qa", Precision::F32, &mut shared);
        let int8 = load("qa", Precision::Int8, &mut shared);
        let slots = load("slots", Precision::F32, &mut shared);
        for (other, alike) in [(&again, true), (&int8, false), (&slots, false)] {
            assert!(Arc::ptr_eq(words(&qa), words(other)));
            let (ours, theirs) = (&qa.model().groups[0][0], &other.model().groups[0][0]);
            assert_eq!(Arc::ptr_eq(ours, theirs), alike);
        }
    }

    #[test]
    fn a_model_that_shares_answers_as_one_that_does_not() {
        let mut shared = Shared::new();
        load("mini", Precision::F32, &mut shared);
        let ours = load("slots", Precision::F32, &mut shared);
        let alone = load("slots", Precision::F32, &mut Shared::new());
        assert!(!Arc::ptr_eq(words(&ours), words(&alone)));
        let mut batch = Batch::new();
        batch.push(&[2, 100, 200, 300, 3], None).unwrap();
        let what = What {
            head: true,
            last_hidden_state: true,
            ..What::default()
        };
        let [ours, alone] = [ours, alone].map(|engine| engine.forward(&batch, &what).unwrap());
        assert_eq!(ours.last_hidden_state, alone.last_hidden_state);
        assert_eq!(ours.token_logits, alone.token_logits);
    }
}
