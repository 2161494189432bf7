//! Gradients summed over processes, in one flat buffer.

use albert_checkpoint::ParameterSpec;
use albert_model::TrainingBackend;
use burn::tensor::{Tensor, TensorData};

use super::Gradients;
use super::state::values;
use crate::error::Result;
use crate::peers::Peers;

impl<B: TrainingBackend> Gradients<B> {
    /// Replaces the gradients by their sums over all processes, whose losses were weighted so that
    /// they sum to the whole batch's. Afterwards they count as the sum of `passes` forward passes.
    ///
    /// The values of all parameters stand end to end in the order of their names and are exchanged
    /// once. A process that had no rows has no gradients and adds zeros; every parameter of a
    /// model that is pretrained has a gradient in the others.
    ///
    /// # Errors
    /// A gradient's values cannot be read, or another process cannot be reached.
    pub fn sum_over(
        &mut self,
        peers: &dyn Peers,
        parameters: &[ParameterSpec],
        passes: usize,
        device: &B::Device,
    ) -> Result<()> {
        if peers.count() == 1 {
            return Ok(());
        }
        let mut parameters: Vec<&ParameterSpec> = parameters.iter().collect();
        parameters.sort_by(|a, b| a.name.cmp(&b.name));
        let all = parameters.iter().map(|p| p.elements()).sum();
        let mut flat: Vec<f32> = Vec::with_capacity(all);
        for parameter in &parameters {
            match self.by_name.remove(&parameter.name) {
                Some(gradient) => flat.extend(values::<B>(&parameter.name, gradient)?),
                None => flat.resize(flat.len() + parameter.elements(), 0.0),
            }
        }
        peers.sum(&mut flat)?;
        let mut rest = flat.as_slice();
        for parameter in parameters {
            let (own, after) = rest.split_at(parameter.elements());
            let data = TensorData::new(own.to_vec(), [own.len()]);
            let gradient = Tensor::from_data(data, device);
            self.by_name.insert(parameter.name.clone(), gradient);
            rest = after;
        }
        self.passes = passes;
        Ok(())
    }
}
