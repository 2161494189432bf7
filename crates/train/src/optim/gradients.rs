//! Gradients by name, summed over forward passes.

use std::collections::{BTreeMap, HashMap};

use albert_kernels::training::optim::{scale, square_sum};
use albert_model::{NamedParameters, TrainingBackend, parameter_id, sum_in_stretches};
use burn::module::{AutodiffModule, ModuleVisitor, Param, ParamId};
use burn::tensor::{Tensor, TensorPrimitive};

use super::state::{Flat, map_slice, values};
use crate::error::Result;

/// The sum of the gradients of some forward passes, flat, by the parameters' names.
#[derive(Debug)]
pub struct Gradients<B: TrainingBackend> {
    pub(super) by_name: BTreeMap<String, Flat<B>>,
    pub(super) passes: usize,
}

impl<B: TrainingBackend> Default for Gradients<B> {
    fn default() -> Self {
        Self {
            by_name: BTreeMap::new(),
            passes: 0,
        }
    }
}

impl<B: TrainingBackend> Gradients<B> {
    /// No gradients yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// How many forward passes were added.
    pub fn passes(&self) -> usize {
        self.passes
    }

    /// Adds the gradients of one forward pass of `model`.
    pub fn add<M>(&mut self, model: &M, gradients: B::Gradients)
    where
        M: AutodiffModule<B> + NamedParameters<B>,
    {
        let names = model.parameters().into_iter();
        let mut collect = Collect::<B> {
            names: names.map(|p| (parameter_id(&p.name), p.name)).collect(),
            gradients,
            into: &mut self.by_name,
        };
        model.visit(&mut collect);
        self.passes += 1;
    }

    /// Drops the gradients of the parameters that `learns` says no to: they stay as they are.
    pub fn keep(&mut self, learns: impl Fn(&str) -> bool) {
        self.by_name.retain(|name, _| learns(name));
    }

    /// Adds each gradient whose name `into` maps to another's to that one.
    pub(crate) fn merge(&mut self, into: impl Fn(&str) -> Option<String>) {
        for (name, gradient) in std::mem::take(&mut self.by_name) {
            let name = into(&name).unwrap_or(name);
            let sum = match self.by_name.remove(&name) {
                Some(sum) => sum + gradient,
                None => gradient,
            };
            self.by_name.insert(name, sum);
        }
    }

    /// Gives the parameter `to` the gradient of the parameter `from`.
    pub(crate) fn repeat(&mut self, from: &str, to: &str) {
        if let Some(gradient) = self.by_name.get(from).cloned() {
            self.by_name.insert(to.to_owned(), gradient);
        }
    }

    /// The mean over the passes and its global norm; where the norm exceeds `limit`, the
    /// gradients are scaled down to it (Google's `clip_by_global_norm`, limit 1.0).
    ///
    /// Afterwards there are no gradients here. The norm is the one before clipping; if it is not
    /// finite, the gradients are returned as they are.
    ///
    /// # Errors
    /// A gradient's values cannot be read.
    pub fn take_clipped(&mut self, limit: f64) -> Result<(Self, f64)> {
        let mut taken = std::mem::take(self);
        let passes = taken.passes.max(1) as f64;
        let norm = taken.norm()? / passes;
        let clip = if norm.is_finite() && norm > limit {
            limit / norm
        } else {
            1.0
        };
        taken.scale(clip / passes)?;
        taken.passes = 1;
        Ok((taken, norm))
    }

    /// As [`Gradients::take_clipped`] without waiting for the device: the norm, before clipping,
    /// stays there as `[1]`, and so does the decision to clip. Where the norm or `loss`, `[1]`, is
    /// not finite, every gradient is zero, so that nothing but numbers reaches the weights and the
    /// moments.
    ///
    /// Afterwards there are no gradients here.
    pub fn take_clipped_on_device(&mut self, limit: f64, loss: Flat<B>) -> (Self, Flat<B>) {
        let mut taken = std::mem::take(self);
        let passes = taken.passes.max(1) as f64;
        let squares = taken
            .by_name
            .values()
            .cloned()
            .map(|g| sum_in_stretches(g.square()));
        let norm = squares.fold(loss.zeros_like(), |sum, square| sum + square);
        let norm = norm.sqrt() / passes;
        let bad = (norm.clone() + loss).is_finite().bool_not();
        // 1 where the norm is 0: the limit times infinity, cut down.
        let factor = (norm.clone().recip() * limit).clamp_max(1.0) / passes;
        for gradient in taken.by_name.values_mut() {
            let bad = bad.clone().expand(gradient.shape());
            *gradient = (gradient.clone() * factor.clone()).mask_fill(bad, 0.0);
        }
        taken.passes = 1;
        (taken, norm)
    }

    /// The norm over all parameters; sums run in a fixed order.
    ///
    /// # Errors
    /// A gradient's values cannot be read.
    pub fn norm(&self) -> Result<f64> {
        let squares = self.by_name.iter().map(|(name, gradient)| {
            Ok(if B::HOST {
                square_sum(&values::<B>(name, gradient.clone())?)
            } else {
                let sum = sum_in_stretches(gradient.clone().square());
                sum.into_data().iter::<f64>().sum()
            })
        });
        Ok(squares.sum::<Result<f64>>()?.sqrt())
    }

    fn scale(&mut self, factor: f64) -> Result<()> {
        if factor == 1.0 {
            return Ok(());
        }
        let scaled = |(name, gradient): (String, Flat<B>)| {
            let gradient = if B::HOST {
                map_slice::<B>(&name, gradient, |values| scale(values, factor as f32))?
            } else {
                gradient * factor
            };
            Ok((name, gradient))
        };
        let by_name = std::mem::take(&mut self.by_name).into_iter();
        self.by_name = by_name.map(scaled).collect::<Result<_>>()?;
        Ok(())
    }

    /// The values of the gradient of parameter `name`, for reports and tests.
    pub fn values(&self, name: &str) -> Option<Vec<f32>> {
        let gradient = self.by_name.get(name)?;
        Some(gradient.to_data().iter::<f32>().collect())
    }
}

struct Collect<'a, B: TrainingBackend> {
    names: HashMap<ParamId, String>,
    gradients: B::Gradients,
    into: &'a mut BTreeMap<String, Flat<B>>,
}

impl<B: TrainingBackend> ModuleVisitor<B> for Collect<'_, B> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<B, D>>) {
        let Some(name) = self.names.get(&param.id) else {
            return;
        };
        let tensor = param.val().into_primitive().tensor();
        let Some(gradient) = B::grad_remove(&tensor, &mut self.gradients) else {
            return;
        };
        let gradient = TensorPrimitive::Float(gradient);
        let gradient: Tensor<B::InnerBackend, D> = Tensor::from_primitive(gradient);
        let gradient = gradient.flatten::<1>(0, D - 1);
        let sum = match self.into.remove(name) {
            Some(sum) => sum + gradient,
            None => gradient,
        };
        self.into.insert(name.clone(), sum);
    }
}
