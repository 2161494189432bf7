//! Layers that share some of their parameters: what lies between ALBERT, whose layers share all of
//! them, and BERT, whose layers share none (Lan et al. 2019, section 4.5).
//!
//! Each group of layers stores tensors of its own, so that every program that reads ALBERT reads
//! the checkpoint; the tied ones begin with the same values and always move by the same gradient,
//! the sum over the groups.

use albert_checkpoint::ParameterSpec;
use albert_model::{AlbertForPreTraining, NamedParameters, TrainingBackend};
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::optim::Gradients;

const GROUPS: &str = "albert.encoder.albert_layer_groups.";

/// Which part of the layers is the same in every group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Tied {
    /// Attention, with the norm after it.
    Attention,
    /// The feed-forward network, with the norm after it.
    Ffn,
}

impl Tied {
    /// The first group's tensor that the tensor `name` of another group is tied to.
    ///
    /// ```
    /// use albert_train::tied::Tied;
    /// let group = |i| format!("albert.encoder.albert_layer_groups.{i}.albert_layers.0.ffn.bias");
    /// assert_eq!(Tied::Ffn.original(&group(2)), Some(group(0)));
    /// assert_eq!(Tied::Attention.original(&group(2)), None);
    /// assert_eq!(Tied::Ffn.original(&group(0)), None);
    /// ```
    pub fn original(self, name: &str) -> Option<String> {
        let (group, tensor) = name.strip_prefix(GROUPS)?.split_once('.')?;
        let of_attention = tensor.contains(".attention.");
        (group != "0" && of_attention == (self == Tied::Attention))
            .then(|| format!("{GROUPS}0.{tensor}"))
    }

    /// Adds the gradients of tied tensors to those of the first group, which alone remain: each
    /// shared parameter counts once in the gradient's norm.
    pub(crate) fn gather<B: TrainingBackend>(self, gradients: &mut Gradients<B>) {
        gradients.merge(|name| self.original(name));
    }

    /// Gives every tied tensor the gradient that [`Tied::gather`] left in the first group.
    pub(crate) fn spread<B: TrainingBackend>(
        self,
        gradients: &mut Gradients<B>,
        parameters: &[ParameterSpec],
    ) {
        for parameter in parameters {
            if let Some(original) = self.original(&parameter.name) {
                gradients.repeat(&original, &parameter.name);
            }
        }
    }

    /// The model with the first group's values in all tied tensors.
    pub(crate) fn begin<B: TrainingBackend>(
        self,
        model: AlbertForPreTraining<B>,
    ) -> Result<AlbertForPreTraining<B>> {
        let mut tensors = unshaped(&model);
        for i in 0..tensors.len() {
            if let Some(original) = self.original(&tensors[i].0) {
                tensors[i].1 = values(&tensors, &original).to_vec();
            }
        }
        Ok(model.with_tensors(tensors)?)
    }

    /// Whether the tied tensors of a model that a run begins with are the same.
    ///
    /// # Errors
    /// [`Error::RecipeField`] naming the first that is not.
    pub(crate) fn check<B: TrainingBackend>(self, model: &AlbertForPreTraining<B>) -> Result<()> {
        let tensors = unshaped(model);
        for (name, own) in &tensors {
            if let Some(original) = self.original(name)
                && own != values(&tensors, &original)
            {
                let message = format!(
                    "`{name}` differs from `{original}`, but `model.tied` says that they are the same"
                );
                return Err(Error::field("start_from", message));
            }
        }
        Ok(())
    }
}

fn unshaped<B: TrainingBackend>(model: &AlbertForPreTraining<B>) -> Vec<(String, Vec<f32>)> {
    let tensors = model.tensors().into_iter();
    tensors.map(|(name, _, values)| (name, values)).collect()
}

fn values<'t>(tensors: &'t [(String, Vec<f32>)], name: &str) -> &'t [f32] {
    let found = tensors.iter().find(|(own, _)| own == name);
    found.map_or(&[], |(_, values)| values)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use albert_checkpoint::{AlbertConfig, Checkpoint};
    use albert_model::Cpu;

    use std::result::Result;

    use super::*;
    use crate::optim::tests::{batch, golden};

    /// The gradients of a model that shares everything are the sums over the groups of one that
    /// shares nothing and has the same weights.
    #[test]
    fn gathered_gradients_are_those_of_shared_layers() -> Result<(), Box<dyn std::error::Error>> {
        let gradients = |config: &AlbertConfig, weights: Vec<(String, Vec<f32>)>| {
            let model = AlbertForPreTraining::<Cpu>::init(config, 0, &Default::default())?;
            let model = model.with_tensors(weights)?;
            let loss = model.forward(&batch()?, None)?.loss;
            let mut gradients = Gradients::new();
            gradients.add(&model, loss.backward());
            Ok::<_, Box<dyn std::error::Error>>((model, gradients))
        };
        let checkpoint = Checkpoint::open(Path::new(&golden("pretraining")))?;
        let mut config = checkpoint.config().clone();
        let weights = unshaped(&AlbertForPreTraining::<Cpu>::load(
            &checkpoint,
            &Default::default(),
        )?);
        config.num_hidden_groups = 1;
        let first = config.parameters().into_iter();
        let first = first.map(|p| (p.name.clone(), values(&weights, &p.name).to_vec()));
        let (shared, expected) = gradients(&config, first.collect())?;

        config.num_hidden_groups = config.num_hidden_layers;
        let apart = AlbertForPreTraining::<Cpu>::init(&config, 0, &Default::default())?;
        let of_shared = |(name, _): (String, Vec<f32>)| {
            let original = [Tied::Attention, Tied::Ffn]
                .into_iter()
                .find_map(|tied| tied.original(&name));
            let values = values(&weights, original.as_deref().unwrap_or(&name)).to_vec();
            (name, values)
        };
        let weights = unshaped(&apart).into_iter().map(of_shared).collect();
        let (apart, mut found) = gradients(&config, weights)?;
        for tied in [Tied::Attention, Tied::Ffn] {
            tied.check(&apart)?;
            tied.gather(&mut found);
        }
        // Sums of the same products in another order.
        let (ours, theirs) = (found.norm()?, expected.norm()?);
        assert!((ours - theirs).abs() < 1e-6 * theirs, "{ours} {theirs}");
        for parameter in shared.parameters() {
            let of = |from: &Gradients<Cpu>| from.values(&parameter.name).unwrap_or_default();
            let (ours, theirs) = (of(&found), of(&expected));
            assert_eq!(
                (ours.len(), theirs.len()),
                (parameter.elements(), parameter.elements())
            );
            for (ours, theirs) in ours.iter().zip(&theirs) {
                assert!(
                    (ours - theirs).abs() < 1e-5,
                    "{}: {ours} {theirs}",
                    parameter.name
                );
            }
        }

        Tied::Ffn.spread(&mut found, &apart.parameters());
        let of = |group| format!("{GROUPS}{group}.albert_layers.0.ffn.weight");
        assert!(found.values(&of(1)).is_some());
        assert_eq!(found.values(&of(1)), found.values(&of(0)));
        assert_eq!(found.values(&of(1).replace("ffn", "attention.query")), None);
        Ok(())
    }
}
