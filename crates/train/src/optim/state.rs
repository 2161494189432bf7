//! Flat tensors, the moments kept for each parameter, and how a step reaches them all.

use std::collections::{BTreeMap, HashMap};

use albert_model::{NamedParameters, TrainingBackend, parameter_id};
use burn::module::{AutodiffModule, ModuleMapper, Param, ParamId};
use burn::tensor::backend::AutodiffBackend;
use burn::tensor::{Tensor, TensorData};

use super::Gradients;

/// A parameter's values, gradient or moment, flat and without a graph.
pub(super) type Flat<B> = Tensor<<B as AutodiffBackend>::InnerBackend, 1>;

/// The running means of one parameter's gradient and of its square, flat.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Moments {
    /// Mean of the gradient.
    pub first: Vec<f32>,
    /// Mean of its square.
    pub second: Vec<f32>,
}

/// An optimiser's state as plain numbers, for a checkpoint of the run.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct OptimizerState {
    /// Steps taken.
    pub steps: u64,
    /// Each parameter's moments by name.
    pub moments: BTreeMap<String, Moments>,
}

/// Both moments of all parameters, on the device.
#[derive(Debug)]
pub(super) struct Memory<B: TrainingBackend> {
    pub(super) steps: u64,
    by_name: BTreeMap<String, (Flat<B>, Flat<B>)>,
    /// Restored moments whose device is not known before the first step.
    waiting: BTreeMap<String, Moments>,
}

impl<B: TrainingBackend> Default for Memory<B> {
    fn default() -> Self {
        Self {
            steps: 0,
            by_name: BTreeMap::new(),
            waiting: BTreeMap::new(),
        }
    }
}

/// What an optimiser works on at one parameter.
pub(super) struct Slot<B: TrainingBackend> {
    pub(super) weight: Flat<B>,
    pub(super) gradient: Flat<B>,
    pub(super) first: Flat<B>,
    pub(super) second: Flat<B>,
}

impl<B: TrainingBackend> Memory<B> {
    pub(super) fn state(&self) -> OptimizerState {
        let plain = |tensor: &Flat<B>| tensor.to_data().iter::<f32>().collect();
        let on_device = self.by_name.iter().map(|(name, (first, second))| {
            let (first, second) = (plain(first), plain(second));
            (name.clone(), Moments { first, second })
        });
        OptimizerState {
            steps: self.steps,
            moments: self.waiting.clone().into_iter().chain(on_device).collect(),
        }
    }

    pub(super) fn restore(&mut self, state: OptimizerState) {
        *self = Self {
            steps: state.steps,
            by_name: BTreeMap::new(),
            waiting: state.moments,
        };
    }

    /// Applies `update` to every parameter that has a gradient.
    pub(super) fn step<M>(
        &mut self,
        model: M,
        gradients: Gradients<B>,
        update: impl FnMut(&str, Slot<B>) -> Slot<B>,
    ) -> M
    where
        M: AutodiffModule<B> + NamedParameters<B>,
    {
        self.steps += 1;
        let names = model.parameters().into_iter();
        let mut mapper = Update {
            names: names.map(|p| (parameter_id(&p.name), p.name)).collect(),
            gradients,
            memory: self,
            update,
        };
        model.map(&mut mapper)
    }

    fn take(&mut self, name: &str, like: &Flat<B>) -> (Flat<B>, Flat<B>) {
        if let Some(moments) = self.by_name.remove(name) {
            return moments;
        }
        let device = like.device();
        match self.waiting.remove(name) {
            Some(Moments { first, second }) => {
                let flat = |values: Vec<f32>| {
                    let shape = [values.len()];
                    Tensor::from_data(TensorData::new(values, shape), &device)
                };
                (flat(first), flat(second))
            }
            None => {
                let zeros = || Tensor::zeros(like.shape(), &device);
                (zeros(), zeros())
            }
        }
    }
}

struct Update<'a, B: TrainingBackend, F> {
    names: HashMap<ParamId, String>,
    gradients: Gradients<B>,
    memory: &'a mut Memory<B>,
    update: F,
}

impl<B, F> ModuleMapper<B> for Update<'_, B, F>
where
    B: TrainingBackend,
    F: FnMut(&str, Slot<B>) -> Slot<B>,
{
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<B, D>>) -> Param<Tensor<B, D>> {
        let (id, tensor, mapper) = param.consume();
        let gradient = self.names.get(&id);
        let gradient = gradient.and_then(|name| self.gradients.by_name.remove_entry(name));
        let Some((name, gradient)) = gradient else {
            return Param::from_mapped_value(id, tensor, mapper);
        };
        let shape = tensor.shape();
        let weight = tensor.inner().flatten::<1>(0, D - 1);
        let (first, second) = self.memory.take(&name, &weight);
        let slot = Slot {
            weight,
            gradient,
            first,
            second,
        };
        let slot = (self.update)(&name, slot);
        let moments = (slot.first, slot.second);
        self.memory.by_name.insert(name, moments);
        let weight = Tensor::from_inner(slot.weight.reshape(shape)).require_grad();
        Param::from_mapped_value(id, weight, mapper)
    }
}

impl<B: TrainingBackend> Slot<B> {
    /// Changes weight, gradient, first and second moment as slices in host memory.
    pub(super) fn on_slices(
        self,
        change: impl FnOnce(&mut [f32], &mut [f32], &mut [f32], &mut [f32]),
    ) -> Self {
        let (device, shape) = (self.weight.device(), self.weight.shape());
        let [mut weight, mut gradient, mut first, mut second] =
            [self.weight, self.gradient, self.first, self.second].map(values::<B>);
        change(&mut weight, &mut gradient, &mut first, &mut second);
        let tensor =
            |values: Vec<f32>| Tensor::from_data(TensorData::new(values, shape.clone()), &device);
        Self {
            weight: tensor(weight),
            gradient: tensor(gradient),
            first: tensor(first),
            second: tensor(second),
        }
    }
}

/// The numbers of a tensor; those of a tensor in host memory that nothing else holds are moved.
fn values<B: TrainingBackend>(tensor: Flat<B>) -> Vec<f32> {
    // Converted to f32 first, so that the element type fits.
    let data = tensor.into_data().convert::<f32>();
    data.into_vec().unwrap_or_default()
}

/// Reads a tensor in host memory.
pub(super) fn with_slice<B: TrainingBackend, R>(
    tensor: &Flat<B>,
    read: impl FnOnce(&[f32]) -> R,
) -> R {
    read(&values::<B>(tensor.clone()))
}

/// Changes a tensor in host memory, in place unless it is shared.
pub(super) fn map_slice<B: TrainingBackend>(
    tensor: Flat<B>,
    change: impl FnOnce(&mut [f32]),
) -> Flat<B> {
    let device = tensor.device();
    let shape = tensor.shape();
    let mut values = values::<B>(tensor);
    change(&mut values);
    Tensor::from_data(TensorData::new(values, shape), &device)
}
