//! What steps measure, and when it is read.
//!
//! On the processor every number is read where it arises. On another device that would make the
//! host wait for each forward pass, and the device for the host after it: there the numbers stay
//! where they are and are read for many steps in one go.

use burn::tensor::{Int, Tensor, backend::Backend};

use crate::batches::{HostBatch, Position};
use crate::error::{Error, Result};
use crate::metrics::Sums;

/// What one step saw.
#[derive(Debug)]
pub(crate) struct Seen<I: Backend> {
    /// Counts of what was in its batches, and what was read of their losses and hits.
    pub sums: Sums,
    pub examples: Vec<u32>,
    pub last: Position,
    /// What is still on the device.
    unread: Option<Measured<I>>,
}

/// What a forward pass gave, or the sum over some.
#[derive(Clone, Debug)]
pub(crate) struct Measured<I: Backend> {
    /// `[1]`.
    pub masked_lm_loss: Tensor<I, 1>,
    /// `[1]`.
    pub order_loss: Tensor<I, 1>,
    /// Masked pieces and pairs that were guessed, `[1]` each, if they were counted.
    pub right: Option<[Tensor<I, 1, Int>; 2]>,
}

impl<I: Backend> Default for Seen<I> {
    fn default() -> Self {
        Self {
            sums: Sums::default(),
            examples: Vec::new(),
            last: Position::default(),
            unread: None,
        }
    }
}

impl<I: Backend> Seen<I> {
    /// Adds what stands in `host`, the batch of a forward pass: of all processes, if there are
    /// several. `counted` says whether hits are counted.
    pub(crate) fn count(&mut self, host: &HostBatch, counted: bool) {
        self.examples.extend(&host.examples);
        self.last = host.position;
        let sums = &mut self.sums;
        sums.passes += 1;
        sums.tokens += host.tokens() as u64;
        if counted {
            sums.masked += host.masked_labels.len() as u64;
            sums.pairs += host.rows as u64;
        }
    }

    /// Adds the numbers of a forward pass, the two losses by `weights`; they stay on the device if
    /// `late`, where the weights are 1.
    ///
    /// # Errors
    /// The numbers cannot be read.
    pub(crate) fn measure(
        &mut self,
        measured: Measured<I>,
        weights: [f64; 2],
        late: bool,
    ) -> Result<()> {
        if late {
            self.unread = Some(match self.unread.take() {
                Some(sum) => sum.plus(measured),
                None => measured,
            });
            return Ok(());
        }
        let numbers = read(measured.numbers())?;
        self.sums.add(&numbers, weights);
        Ok(())
    }

    /// The sum of all losses, `[1]`, where it has not been read.
    pub(crate) fn unread_loss(&self) -> Option<Tensor<I, 1>> {
        let unread = self.unread.as_ref()?;
        Some(unread.masked_lm_loss.clone() + unread.order_loss.clone())
    }

    /// The mean loss of the step's passes, which have been read.
    pub(crate) fn loss(&self) -> f64 {
        let sums = &self.sums;
        (sums.masked_lm_loss + sums.order_loss) / sums.passes.max(1) as f64
    }
}

impl<I: Backend> Measured<I> {
    fn plus(self, other: Self) -> Self {
        let right = self.right.zip(other.right);
        Self {
            masked_lm_loss: self.masked_lm_loss + other.masked_lm_loss,
            order_loss: self.order_loss + other.order_loss,
            right: right.map(|([a, b], [c, d])| [a + c, b + d]),
        }
    }

    /// All numbers, `[1]` each. Counts are below 2^24, and so the same as floats.
    fn numbers(self) -> Vec<Tensor<I, 1>> {
        let right = self.right.into_iter().flatten().map(|count| count.float());
        let losses = [self.masked_lm_loss, self.order_loss];
        losses.into_iter().chain(right).collect()
    }
}

impl Sums {
    /// Adds numbers in the order of [`Measured::numbers`], the losses by their weights.
    fn add(&mut self, numbers: &[f32], weights: [f64; 2]) {
        if let [masked_lm_loss, order_loss, right @ ..] = numbers {
            self.masked_lm_loss += weights[0] * f64::from(*masked_lm_loss);
            self.order_loss += weights[1] * f64::from(*order_loss);
            if let [masked_right, order_right] = right {
                self.masked_right += *masked_right as u64;
                self.order_right += *order_right as u64;
            }
        }
    }
}

/// A step that was taken and whose numbers are not read yet.
#[derive(Debug)]
pub(crate) struct Unread<I: Backend> {
    /// The step, counted from 0.
    pub step: u64,
    pub seen: Seen<I>,
    /// The norm of its gradient before clipping, `[1]`.
    pub norm: Tensor<I, 1>,
    pub nanoseconds: u64,
}

/// Steps whose numbers were read, each with the norm of its gradient: one transfer for all.
///
/// # Errors
/// The numbers cannot be read.
pub(crate) fn read_all<I: Backend>(mut steps: Vec<Unread<I>>) -> Result<Vec<(Unread<I>, f64)>> {
    if steps.is_empty() {
        return Ok(Vec::new());
    }
    let mut tensors = Vec::new();
    let mut counts = Vec::new();
    for step in &mut steps {
        let unread = step.seen.unread.take();
        let numbers = unread.map_or(Vec::new(), Measured::numbers);
        counts.push(numbers.len());
        tensors.push(step.norm.clone());
        tensors.extend(numbers);
    }
    let mut values = read(tensors)?.into_iter();
    let account = |(mut step, count): (Unread<I>, usize)| {
        // As many numbers came back as tensors were sent, else `read` had failed.
        let norm = values.next().unwrap_or(f32::NAN);
        let numbers: Vec<f32> = values.by_ref().take(count).collect();
        step.seen.sums.add(&numbers, [1.0; 2]);
        (step, f64::from(norm))
    };
    Ok(steps.into_iter().zip(counts).map(account).collect())
}

/// The numbers in tensors `[1]`.
fn read<I: Backend>(tensors: Vec<Tensor<I, 1>>) -> Result<Vec<f32>> {
    let count = tensors.len();
    let data = Tensor::cat(tensors, 0).try_into_data();
    let failed = |message: String| Error::Values {
        what: "the losses of the last steps".into(),
        message,
    };
    let data = data.map_err(|error| failed(format!("{error:?}")))?;
    let values = data.convert::<f32>().into_vec();
    let values: Vec<f32> = values.map_err(|error| failed(format!("{error:?}")))?;
    match values.len() == count {
        true => Ok(values),
        false => Err(failed(format!("{} of {count} came back", values.len()))),
    }
}
