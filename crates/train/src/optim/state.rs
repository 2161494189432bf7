//! Flat tensors, the moments kept for each parameter, and how a step reaches them all.

use std::collections::{BTreeMap, HashMap, HashSet};

use albert_checkpoint::ParameterSpec;
use albert_model::{NamedParameters, TrainingBackend, parameter_id};
use burn::module::{AutodiffModule, ModuleMapper, Param, ParamId};
use burn::tensor::backend::AutodiffBackend;
use burn::tensor::{Tensor, TensorData};

use super::Gradients;
use crate::error::{Error, Result};

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

impl OptimizerState {
    /// Whether this is the state of an optimiser that moves exactly these parameters: before the
    /// first step there are no moments, after it each parameter has both, as long as itself.
    ///
    /// # Errors
    /// [`Error::Moments`] naming the first parameter whose moments are missing, have another
    /// size, or are none of the model's.
    pub fn fits(&self, parameters: &[ParameterSpec]) -> Result<()> {
        let wrong = |name: &str, message: String| {
            let name = name.to_owned();
            Err(Error::Moments { name, message })
        };
        for parameter in parameters {
            let name = &parameter.name;
            let Some(moments) = self.moments.get(name) else {
                if self.steps == 0 {
                    continue;
                }
                return wrong(name, format!("are missing after {} steps", self.steps));
            };
            for (kind, values) in [("first", &moments.first), ("second", &moments.second)] {
                let (found, expected) = (values.len(), parameter.elements());
                if found != expected {
                    let message =
                        format!("do not fit: the {kind} has {found} values, not {expected}");
                    return wrong(name, message);
                }
            }
        }
        let known: HashSet<&str> = parameters.iter().map(|p| p.name.as_str()).collect();
        match self
            .moments
            .keys()
            .find(|name| !known.contains(name.as_str()))
        {
            Some(name) => wrong(name, "belong to no parameter of the model".into()),
            None => Ok(()),
        }
    }
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
    pub(super) fn state(&self) -> Result<OptimizerState> {
        let mut moments = self.waiting.clone();
        for (name, (first, second)) in &self.by_name {
            let first = values::<B>(name, first.clone())?;
            let second = values::<B>(name, second.clone())?;
            moments.insert(name.clone(), Moments { first, second });
        }
        Ok(OptimizerState {
            steps: self.steps,
            moments,
        })
    }

    pub(super) fn restore(
        &mut self,
        state: OptimizerState,
        parameters: &[ParameterSpec],
    ) -> Result<()> {
        state.fits(parameters)?;
        *self = Self {
            steps: state.steps,
            by_name: BTreeMap::new(),
            waiting: state.moments,
        };
        Ok(())
    }

    /// Applies `update` to every parameter that has a gradient.
    pub(super) fn step<M>(
        &mut self,
        model: M,
        gradients: Gradients<B>,
        update: impl FnMut(&str, Slot<B>) -> Result<Slot<B>>,
    ) -> Result<M>
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
            failed: None,
        };
        let model = model.map(&mut mapper);
        match mapper.failed {
            Some(error) => Err(error),
            None => Ok(model),
        }
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
    /// The first error; what is mapped from then on stays, and the model is not handed out.
    failed: Option<Error>,
}

impl<B, F> ModuleMapper<B> for Update<'_, B, F>
where
    B: TrainingBackend,
    F: FnMut(&str, Slot<B>) -> Result<Slot<B>>,
{
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<B, D>>) -> Param<Tensor<B, D>> {
        let (id, tensor, mapper) = param.consume();
        let gradient = self.names.get(&id);
        let gradient = gradient.and_then(|name| self.gradients.by_name.remove_entry(name));
        let (Some((name, gradient)), None) = (gradient, &self.failed) else {
            return Param::from_mapped_value(id, tensor, mapper);
        };
        let (shape, device) = (tensor.shape(), tensor.device());
        let weight = tensor.inner().flatten::<1>(0, D - 1);
        let (first, second) = self.memory.take(&name, &weight);
        let slot = Slot {
            weight,
            gradient,
            first,
            second,
        };
        let slot = match (self.update)(&name, slot) {
            Ok(slot) => slot,
            Err(error) => {
                self.failed = Some(error);
                return Param::from_mapped_value(id, Tensor::zeros(shape, &device), mapper);
            }
        };
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
        name: &str,
        change: impl FnOnce(&mut [f32], &mut [f32], &mut [f32], &mut [f32]),
    ) -> Result<Self> {
        let (device, shape) = (self.weight.device(), self.weight.shape());
        let mut weight = values::<B>(name, self.weight)?;
        let mut gradient = values::<B>(name, self.gradient)?;
        let mut first = values::<B>(name, self.first)?;
        let mut second = values::<B>(name, self.second)?;
        change(&mut weight, &mut gradient, &mut first, &mut second);
        let tensor =
            |values: Vec<f32>| Tensor::from_data(TensorData::new(values, shape.clone()), &device);
        Ok(Self {
            weight: tensor(weight),
            gradient: tensor(gradient),
            first: tensor(first),
            second: tensor(second),
        })
    }
}

/// The numbers of a tensor that belongs to parameter `name`; those of a tensor in host memory that
/// nothing else holds are moved.
pub(super) fn values<B: TrainingBackend>(name: &str, tensor: Flat<B>) -> Result<Vec<f32>> {
    // Converted to f32 first, so that the element type fits.
    let data = tensor.into_data().convert::<f32>();
    data.into_vec().map_err(|error| Error::Values {
        what: format!("what the optimiser holds of `{name}`"),
        message: error.to_string(),
    })
}

/// Changes a tensor in host memory, in place unless it is shared.
pub(super) fn map_slice<B: TrainingBackend>(
    name: &str,
    tensor: Flat<B>,
    change: impl FnOnce(&mut [f32]),
) -> Result<Flat<B>> {
    let device = tensor.device();
    let shape = tensor.shape();
    let mut values = values::<B>(name, tensor)?;
    change(&mut values);
    Ok(Tensor::from_data(TensorData::new(values, shape), &device))
}
