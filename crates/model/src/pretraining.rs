//! Pretraining: masked words and sentence order (Lan et al. 2019, section 3.1).

use std::path::Path;

use albert_checkpoint::{AlbertConfig, Architecture, Checkpoint, DType, ParameterSpec};
use burn::module::Module;
use burn::tensor::{Tensor, backend::Backend};

use crate::heads::{Linear, MaskedLmHead};
use crate::parameters::{Builder, NamedParameters, Source, to_save};
use crate::{
    Albert, AlbertBackend, DropoutKey, Error, Precision, PretrainBatch, Result, Selection, initial,
};

/// ALBERT with both pretraining heads.
#[derive(Module, Debug)]
pub struct AlbertForPreTraining<B: Backend> {
    albert: Albert<B>,
    masked_lm: MaskedLmHead<B>,
    order: Linear<B>,
}

/// What a pretraining step gives.
#[derive(Clone, Debug)]
pub struct PretrainOutput<B: Backend> {
    /// The sum of both losses, `[1]`: what is minimised.
    pub loss: Tensor<B, 1>,
    /// Mean cross-entropy at the masked positions in nats, `[1]`.
    pub masked_lm_loss: Tensor<B, 1>,
    /// Mean cross-entropy of the order in nats, `[1]`.
    pub order_loss: Tensor<B, 1>,
    /// `[masked, vocab]`.
    pub masked_lm_logits: Tensor<B, 2>,
    /// `[rows, 2]`: in order, swapped.
    pub order_logits: Tensor<B, 2>,
}

impl<B: AlbertBackend> AlbertForPreTraining<B> {
    /// A model with fresh values, which depend on nothing but the configuration and the seed.
    ///
    /// # Errors
    /// The configuration is invalid or its architecture is not `AlbertForPreTraining`.
    pub fn init(config: &AlbertConfig, seed: u64, device: &B::Device) -> Result<Self> {
        config.validate()?;
        Self::build(config, device, &mut |name, shape| {
            Ok(initial::values(config, seed, name, shape))
        })
    }

    /// As [`AlbertForPreTraining::init`], with attention that looks near at first: the learnt
    /// position embeddings begin as sinusoids (Vaswani et al. 2017, section 3.5), as strong as
    /// `initializer_range`, and each layer's keys begin with the weights of its queries.
    ///
    /// A query then agrees most with the keys of positions near its own, where random vectors
    /// make attention look everywhere alike until it has learnt every pair of positions.
    ///
    /// # Errors
    /// As [`AlbertForPreTraining::init`].
    pub fn init_local(config: &AlbertConfig, seed: u64, device: &B::Device) -> Result<Self> {
        config.validate()?;
        Self::build(config, device, &mut |name, shape| match (name, shape) {
            ("albert.embeddings.position_embeddings.weight", &[positions, width]) => {
                let scale = f64::from(config.initializer_range);
                Ok(initial::sinusoids(positions, width, scale))
            }
            _ => {
                let twin = name.replace("attention.key.", "attention.query.");
                Ok(initial::values(config, seed, &twin, shape))
            }
        })
    }

    /// The model in a checkpoint folder with pretraining heads.
    ///
    /// # Errors
    /// The checkpoint's architecture is not `AlbertForPreTraining`, or a tensor is unreadable.
    pub fn load(checkpoint: &Checkpoint, device: &B::Device) -> Result<Self> {
        Self::build(checkpoint.config(), device, &mut |name, _| {
            Ok(checkpoint.tensor(name)?.to_f32().into_owned())
        })
    }

    fn build(config: &AlbertConfig, device: &B::Device, values: &mut Source<'_>) -> Result<Self> {
        if config.architecture != Architecture::PreTraining {
            return Err(Error::Architecture {
                module: "AlbertForPreTraining",
                needed: Architecture::PreTraining.to_string(),
                found: config.architecture.to_string(),
            });
        }
        let mut builder = Builder::new(config, device, values);
        Ok(Self {
            albert: Albert::build(&mut builder, config)?,
            masked_lm: MaskedLmHead::build(&mut builder, config)?,
            order: Linear::build(&mut builder, "sop_classifier.classifier")?,
        })
    }

    /// The same model with products in another precision; parameters, norms, softmax and losses
    /// stay f32.
    pub fn with_precision(mut self, precision: Precision) -> Self {
        self.albert.set_precision(precision);
        self.masked_lm.set_precision(precision);
        self
    }

    /// The same model with only the first `depth` applications of its shared layer: cheaper steps
    /// for the beginning of a run. [`AlbertForPreTraining::save`] writes the full configuration all
    /// the same.
    ///
    /// # Errors
    /// [`Error::Depth`]: more layers than the configuration has, none, or fewer of a model whose
    /// layers fall into groups, where leaving some out would leave weights untrained.
    pub fn with_depth(mut self, depth: usize) -> Result<Self> {
        self.albert.set_depth(depth)?;
        Ok(self)
    }

    /// The configuration the model was built from.
    pub fn config(&self) -> &AlbertConfig {
        self.albert.config()
    }

    /// The encoder.
    pub fn albert(&self) -> &Albert<B> {
        &self.albert
    }

    /// Both losses and the logits they come from; `key` draws this step's dropout, without one
    /// nothing is dropped.
    ///
    /// # Errors
    /// The batch contradicts itself, masks nothing, or has rows beyond the position limit.
    pub fn forward(
        &self,
        batch: &PretrainBatch<B>,
        key: Option<DropoutKey>,
    ) -> Result<PretrainOutput<B>> {
        // Other devices would lose more by gathering rows of unequal length than by padding.
        let (input, positions) = match B::HOST {
            true => batch.unpadded()?,
            false => batch.padded()?,
        };
        let whole = !B::HOST || (key.is_some() && self.albert.drops());
        let (output, positions) = if whole {
            (self.albert.forward(&input, key, false)?, positions)
        } else {
            // Tensors lie in this process's memory: reading them waits for nothing.
            let device = positions.device();
            let tokens = positions.into_data();
            let tokens: Vec<usize> = tokens.iter::<i64>().map(|i| i as usize).collect();
            let selection = Selection::with_starts(input.rows(), &tokens)?;
            let output = self.albert.forward_selected(&input, &selection)?;
            (output, selection.places(&tokens, &device))
        };
        let Some(pooled) = output.pooled else {
            return Err(Error::UnknownParameter("albert.pooler.weight".into()));
        };

        let masked = B::pick(output.last_hidden_state, positions); // [masked, hidden]
        let masked_lm_logits = self.masked_lm.forward(masked, self.albert.words());
        let order_logits = self.order.forward(pooled);
        let masked_lm_loss =
            B::cross_entropy(masked_lm_logits.clone(), batch.masked_labels.clone());
        let order_loss = B::cross_entropy(order_logits.clone(), batch.order_labels.clone());
        Ok(PretrainOutput {
            loss: masked_lm_loss.clone() + order_loss.clone(),
            masked_lm_loss,
            order_loss,
            masked_lm_logits,
            order_logits,
        })
    }

    /// Writes a checkpoint folder that every ALBERT tool reads.
    ///
    /// # Errors
    /// The folder cannot be written.
    pub fn save(&self, dir: &Path, dtype: DType, extra_files: &[(&str, &Path)]) -> Result<()> {
        let tensors = self.tensors();
        let tensors = to_save(&tensors);
        albert_checkpoint::save(dir, self.config(), &tensors, dtype, extra_files)?;
        Ok(())
    }
}

impl<B: AlbertBackend> NamedParameters<B> for AlbertForPreTraining<B> {
    fn parameters(&self) -> Vec<ParameterSpec> {
        self.config().parameters()
    }
}
