//! ALBERT with the head of any architecture: for fine-tuning, and to hold this crate against
//! published outputs.

use std::collections::HashMap;
use std::path::Path;

use albert_checkpoint::{AlbertConfig, Architecture, Checkpoint, DType, ParameterSpec};
use burn::module::Module;
use burn::tensor::{Tensor, backend::Backend};

use crate::dropout::{self, DropoutKey, Site};
use crate::heads::{Linear, MaskedLmHead};
use crate::parameters::{Builder, NamedParameters, Source, to_save};
use crate::{Albert, AlbertBackend, AlbertOutput, Error, InputBatch, Precision, Result, initial};

/// ALBERT and the heads that its configuration's architecture has.
#[derive(Module, Debug)]
pub struct AlbertForTask<B: Backend> {
    albert: Albert<B>,
    masked_lm: Option<MaskedLmHead<B>>,
    order: Option<Linear<B>>,
    classifier: Option<Linear<B>>,
    question: Option<Linear<B>>,
    /// Classifiers after all layers but the last.
    exits: Vec<Linear<B>>,
}

/// The encoder's output and the logits of the heads that the architecture has.
#[derive(Clone, Debug)]
pub struct TaskOutput<B: Backend> {
    /// What the encoder gives.
    pub albert: AlbertOutput<B>,
    /// Masked words, `[tokens, vocab]`.
    pub masked_lm: Option<Tensor<B, 2>>,
    /// Sentence order, `[rows, 2]`.
    pub order: Option<Tensor<B, 2>>,
    /// Classes of each row `[rows, labels]`, of each token `[tokens, labels]`, or one number for
    /// each choice `[rows, 1]`.
    pub classes: Option<Tensor<B, 2>>,
    /// Start and end of the answer, `[tokens, 2]`.
    pub question: Option<Tensor<B, 2>>,
    /// Where there are early exits, the classes of each row after every layer but the last, each
    /// `[rows, labels]`.
    pub exits: Vec<Tensor<B, 2>>,
}

impl<B: AlbertBackend> AlbertForTask<B> {
    /// A model with fresh values.
    ///
    /// # Errors
    /// The configuration is invalid.
    pub fn init(config: &AlbertConfig, seed: u64, device: &B::Device) -> Result<Self> {
        config.validate()?;
        Self::build(config, device, &mut |name, shape| {
            Ok(initial::values(config, seed, name, shape))
        })
    }

    /// The model in a checkpoint folder.
    ///
    /// # Errors
    /// A tensor is unreadable.
    pub fn load(checkpoint: &Checkpoint, device: &B::Device) -> Result<Self> {
        Self::build(checkpoint.config(), device, &mut |name, _| {
            Ok(checkpoint.tensor(name)?.to_f32().into_owned())
        })
    }

    /// The encoder in a checkpoint folder under the heads of another configuration, for
    /// fine-tuning; a head that both have, with as many outputs, is taken over where `heads` says
    /// so. All that is not taken over has fresh values; its names are given back.
    ///
    /// # Errors
    /// The configuration is invalid, or the checkpoint's encoder has not its shapes; a tensor is
    /// unreadable.
    pub fn load_encoder(
        checkpoint: &Checkpoint,
        config: &AlbertConfig,
        heads: bool,
        seed: u64,
        device: &B::Device,
    ) -> Result<(Self, Vec<String>)> {
        config.validate()?;
        let mut fresh = Vec::new();
        let has: HashMap<String, Vec<usize>> = checkpoint
            .config()
            .parameters()
            .into_iter()
            .map(|spec| (spec.name, spec.shape))
            .collect();
        let model = Self::build(config, device, &mut |name, shape| {
            let of_encoder = name.starts_with("albert.") && !name.starts_with("albert.pooler.");
            match has.get(name) {
                Some(found) if found == shape && (heads || name.starts_with("albert.")) => {
                    Ok(checkpoint.tensor(name)?.to_f32().into_owned())
                }
                found if of_encoder => Err(Error::ParameterShape {
                    name: name.to_owned(),
                    expected: shape.to_vec(),
                    found: found.map_or(0, |shape| shape.iter().product()),
                }),
                _ => {
                    fresh.push(name.to_owned());
                    Ok(initial::values(config, seed, name, shape))
                }
            }
        })?;
        Ok((model, fresh))
    }

    fn build(config: &AlbertConfig, device: &B::Device, values: &mut Source<'_>) -> Result<Self> {
        use Architecture as A;
        let mut builder = Builder::new(config, device, values);
        let albert = Albert::build(&mut builder, config)?;
        let mut linear = |name: &str, of: &[A]| {
            of.contains(&config.architecture)
                .then(|| Linear::build(&mut builder, name))
                .transpose()
        };
        let classified = [
            A::SequenceClassification,
            A::TokenClassification,
            A::MultipleChoice,
        ];
        let order = linear("sop_classifier.classifier", &[A::PreTraining])?;
        let classifier = linear("classifier", &classified)?;
        let question = linear("qa_outputs", &[A::QuestionAnswering])?;
        let predicts_words = matches!(config.architecture, A::PreTraining | A::MaskedLm);
        let masked_lm = predicts_words
            .then(|| MaskedLmHead::build(&mut builder, config))
            .transpose()?;
        let exits =
            (0..config.exits()).map(|exit| Linear::build(&mut builder, &format!("exits.{exit}")));
        let exits = exits.collect::<Result<_>>()?;
        Ok(Self {
            albert,
            masked_lm,
            order,
            classifier,
            question,
            exits,
        })
    }

    /// The same model with products in another precision; parameters, norms, softmax and losses
    /// stay f32.
    pub fn with_precision(mut self, precision: Precision) -> Self {
        self.albert.set_precision(precision);
        if let Some(head) = &mut self.masked_lm {
            head.set_precision(precision);
        }
        self
    }

    /// The configuration the model was built from.
    pub fn config(&self) -> &AlbertConfig {
        self.albert.config()
    }

    /// Encodes a batch and applies the heads; `hidden_states` asks for every layer's output.
    ///
    /// # Errors
    /// A row is longer than the position embeddings.
    pub fn forward(
        &self,
        batch: &InputBatch<B>,
        key: Option<DropoutKey>,
        hidden_states: bool,
    ) -> Result<TaskOutput<B>> {
        let states = hidden_states || !self.exits.is_empty();
        let mut output = self.albert.forward(batch, key, states)?;
        let tokens = || output.last_hidden_state.clone();
        let rate = self.config().classifier_dropout_prob;
        let drop = |x| dropout::apply(x, DropoutKey::at(key, Site::Classifier, 0, rate));
        let missing = || Error::UnknownParameter("albert.pooler.weight".into());
        let pooled = || output.pooled.clone().ok_or_else(missing);

        let masked_lm = self.masked_lm.as_ref();
        let masked_lm = masked_lm.map(|head| head.forward(tokens(), self.albert.words()));
        let order = match &self.order {
            Some(head) => Some(head.forward(pooled()?)),
            None => None,
        };
        let of_tokens = self.config().architecture == Architecture::TokenClassification;
        let classes = match &self.classifier {
            Some(head) if of_tokens => Some(head.forward(drop(tokens()))),
            Some(head) => Some(head.forward(drop(pooled()?))),
            None => None,
        };
        let question = self.question.as_ref().map(|head| head.forward(tokens()));
        let mut exits = Vec::with_capacity(self.exits.len());
        // The first states are what goes into the first layer.
        for (head, states) in self.exits.iter().zip(output.hidden_states.iter().skip(1)) {
            let pooled = self.albert.pool(states, batch.rows().starts());
            exits.push(head.forward(drop(pooled.ok_or_else(missing)?)));
        }
        if !hidden_states {
            output.hidden_states.clear();
        }
        Ok(TaskOutput {
            exits,
            masked_lm,
            order,
            classes,
            question,
            albert: output,
        })
    }
}

impl<B: AlbertBackend> AlbertForTask<B> {
    /// Writes a checkpoint folder: whole, or only what differs from `base`
    /// ([`albert_checkpoint::save_difference`]).
    ///
    /// # Errors
    /// The folder cannot be written.
    pub fn save(&self, dir: &Path, base: Option<&Checkpoint>, dtype: DType) -> Result<()> {
        let tensors = self.tensors();
        let tensors = to_save(&tensors);
        let config = self.config();
        match base {
            Some(base) => {
                albert_checkpoint::save_difference(dir, base, config, &tensors, dtype, &[])?;
            }
            None => albert_checkpoint::save(dir, config, &tensors, dtype, &[])?,
        }
        Ok(())
    }
}

impl<B: AlbertBackend> NamedParameters<B> for AlbertForTask<B> {
    fn parameters(&self) -> Vec<ParameterSpec> {
        self.config().parameters()
    }
}
