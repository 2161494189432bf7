//! Parameters and their names.
//!
//! Burn gives every parameter a random id and files the optimiser's state under it, which
//! orphans the state when a run resumes. Here the id is a hash of the tensor's name in the
//! checkpoint.

use std::collections::HashMap;

use albert_checkpoint::{AlbertConfig, ParameterSpec, SaveTensor};
use burn::module::{Module, ModuleMapper, ModuleVisitor, Param, ParamId};
use burn::tensor::{Tensor, TensorData, backend::Backend};

use crate::{Error, Result};

/// The id of the parameter of this name: the same in every process.
pub fn parameter_id(name: &str) -> ParamId {
    // FNV-1a, 64 bits. A test holds the ids of the published sizes apart.
    let hash = name.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    });
    ParamId::from(hash)
}

/// A module whose parameters carry the names of tensors in a checkpoint.
pub trait NamedParameters<B: Backend>: Module<B> {
    /// Every parameter's name and shape, in the checkpoint's order.
    fn parameters(&self) -> Vec<ParameterSpec>;

    /// Every parameter's name, shape and values, in the checkpoint's order.
    fn tensors(&self) -> Vec<(String, Vec<usize>, Vec<f32>)> {
        let mut values = Values {
            by_id: HashMap::new(),
        };
        self.visit(&mut values);
        let tensor = |spec: ParameterSpec| {
            let values = values.by_id.remove(&parameter_id(&spec.name))?;
            Some((spec.name, spec.shape, values))
        };
        self.parameters().into_iter().filter_map(tensor).collect()
    }

    /// The same module with other values: `tensors` holds a name and values for each parameter.
    ///
    /// # Errors
    /// A parameter is missing or has another number of values.
    fn with_tensors(self, tensors: Vec<(String, Vec<f32>)>) -> Result<Self> {
        let mut by_name: HashMap<String, Vec<f32>> = tensors.into_iter().collect();
        let mut by_id = HashMap::new();
        for spec in self.parameters() {
            let Some(values) = by_name.remove(&spec.name) else {
                return Err(Error::UnknownParameter(spec.name));
            };
            if values.len() != spec.shape.iter().product::<usize>() {
                return Err(Error::ParameterShape {
                    name: spec.name,
                    expected: spec.shape,
                    found: values.len(),
                });
            }
            by_id.insert(parameter_id(&spec.name), values);
        }
        if let Some(name) = by_name.into_keys().next() {
            return Err(Error::UnknownParameter(name));
        }
        Ok(self.map(&mut Replace { by_id }))
    }
}

/// Tensors as a checkpoint takes them.
pub(crate) fn to_save(tensors: &[(String, Vec<usize>, Vec<f32>)]) -> Vec<SaveTensor<'_>> {
    let tensors = tensors.iter();
    tensors
        .map(|(name, shape, data)| SaveTensor { name, shape, data })
        .collect()
}

struct Values {
    by_id: HashMap<ParamId, Vec<f32>>,
}

impl<B: Backend> ModuleVisitor<B> for Values {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<B, D>>) {
        let data = param.val().into_data().convert::<f32>();
        // Converted one line above, so the element type fits.
        let values = data.into_vec().unwrap_or_default();
        self.by_id.insert(param.id, values);
    }
}

struct Replace {
    by_id: HashMap<ParamId, Vec<f32>>,
}

impl<B: Backend> ModuleMapper<B> for Replace {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<B, D>>) -> Param<Tensor<B, D>> {
        let (id, tensor, mapper) = param.consume();
        let tensor = match self.by_id.remove(&id) {
            Some(values) => {
                let data = TensorData::new(values, tensor.shape());
                Tensor::from_data(data, &tensor.device()).require_grad()
            }
            None => tensor,
        };
        Param::from_mapped_value(id, tensor, mapper)
    }
}

/// Gives the values of a parameter by its name and shape.
pub(crate) type Source<'a> = dyn FnMut(&str, &[usize]) -> Result<Vec<f32>> + 'a;

/// Builds parameters by name, from wherever their values come.
pub(crate) struct Builder<'a, B: Backend> {
    shapes: HashMap<String, Vec<usize>>,
    values: &'a mut Source<'a>,
    device: &'a B::Device,
}

impl<'a, B: Backend> Builder<'a, B> {
    pub(crate) fn new(
        config: &AlbertConfig,
        device: &'a B::Device,
        values: &'a mut Source<'a>,
    ) -> Self {
        let specs = config.parameters().into_iter();
        Self {
            shapes: specs.map(|spec| (spec.name, spec.shape)).collect(),
            values,
            device,
        }
    }

    /// The parameter `name`, of the shape that the configuration gives it.
    pub(crate) fn parameter<const D: usize>(&mut self, name: &str) -> Result<Param<Tensor<B, D>>> {
        let unknown = || Error::UnknownParameter(name.to_owned());
        let shape = self.shapes.get(name).ok_or_else(unknown)?;
        let shape: [usize; D] = shape.as_slice().try_into().map_err(|_| unknown())?;
        let values = (self.values)(name, &shape)?;
        let tensor = Tensor::from_data(TensorData::new(values, shape), self.device);
        Ok(Param::initialized(
            parameter_id(name),
            tensor.require_grad(),
        ))
    }
}
