//! What each head is taught by.

use albert_checkpoint::Architecture;
use albert_model::{AlbertBackend, AlbertForTask, DropoutKey, InputBatch, TaskOutput};
use burn::tensor::{Int, Tensor, TensorData, activation};

use super::set::{Item, Row, Target};
use crate::error::Result;

/// Added to logits that are none: their probability is then 0 in 32 bits.
const NOTHING: f32 = -1e9;

/// Cosines are multiplied by this before they are compared, in both losses for vectors: the value
/// that sentence-transformers takes.
const SHARPNESS: f64 = 20.0;

/// How the heads are taught.
#[derive(Clone, Debug, Default)]
pub(crate) struct Teaching {
    /// What an example of each class counts; empty where all count alike.
    pub class_weights: Vec<f32>,
    /// Weight of R-Drop.
    pub r_drop: f64,
    /// Learn vectors that tell classes apart, not classes.
    pub contrast: bool,
}

/// The rows of some items, end to end.
pub(crate) fn input<B: AlbertBackend>(
    items: &[&Item],
    device: &B::Device,
) -> Result<InputBatch<B>> {
    let rows: Vec<&Row> = items.iter().flat_map(|item| &item.rows).collect();
    let ids: Vec<Vec<u32>> = rows.iter().map(|row| row.ids.clone()).collect();
    let types: Vec<Vec<u32>> = rows.iter().map(|row| row.type_ids.clone()).collect();
    Ok(InputBatch::from_rows(&ids, &types, device)?)
}

impl Teaching {
    /// The mean loss of some items, `[1]`; `pass` counts forward passes of the run.
    pub(crate) fn loss<B: AlbertBackend>(
        &self,
        model: &AlbertForTask<B>,
        items: &[&Item],
        seed: u64,
        pass: u64,
        device: &B::Device,
    ) -> Result<Tensor<B, 1>> {
        let batch = input::<B>(items, device)?;
        let key = |step| Some(DropoutKey { seed, step });
        let forward = |step| model.forward(&batch, key(step), false);
        let taught = Taught {
            teaching: self,
            architecture: model.config().architecture,
            items,
            batch: &batch,
            device,
        };
        if self.r_drop <= 0.0 {
            return Ok(taught.loss(&forward(pass)?));
        }
        let (first, second) = (forward(2 * pass)?, forward(2 * pass + 1)?);
        let loss = (taught.loss(&first) + taught.loss(&second)) / 2.0;
        Ok(match (first.classes, second.classes) {
            (Some(a), Some(b)) if !matches!(items[0].target, Target::Number(_)) => {
                // Half of R-Drop's sum, as the losses above are halved.
                loss + disagreement(a, b) * (self.r_drop / 4.0)
            }
            _ => loss,
        })
    }
}

/// Kullback and Leibler's divergence both ways between the distributions of two passes, mean over
/// rows, `[1]`.
fn disagreement<B: AlbertBackend>(a: Tensor<B, 2>, b: Tensor<B, 2>) -> Tensor<B, 1> {
    let rows = a.dims()[0] as f64;
    let (p, q) = (activation::log_softmax(a, 1), activation::log_softmax(b, 1));
    let both = (p.clone().exp() - q.clone().exp()) * (p - q);
    both.sum() / rows
}

struct Taught<'a, B: AlbertBackend> {
    teaching: &'a Teaching,
    architecture: Architecture,
    items: &'a [&'a Item],
    batch: &'a InputBatch<B>,
    device: &'a B::Device,
}

impl<B: AlbertBackend> Taught<'_, B> {
    /// The head's loss; with early exits the mean over all classifiers, each weighted by the number
    /// of layers below it (Zhou et al. 2020, equation 5).
    fn loss(&self, output: &TaskOutput<B>) -> Tensor<B, 1> {
        let mut sum = self.of_head(output);
        if output.exits.is_empty() || self.teaching.contrast {
            return sum;
        }
        let depth = output.exits.len() + 1;
        sum = sum * depth as f64;
        for (layer, logits) in output.exits.iter().enumerate() {
            let loss = match self.items[0].target {
                Target::Number(_) => self.numbers(logits.clone()),
                Target::Classes(_) => self.any_classes(logits.clone()),
                _ => self.classes(logits.clone()),
            };
            sum = sum + loss * (layer + 1) as f64;
        }
        sum / (depth * (depth + 1) / 2) as f64
    }

    fn of_head(&self, output: &TaskOutput<B>) -> Tensor<B, 1> {
        match (&self.items[0].target, &output.classes, &output.question) {
            (Target::Span(..), _, Some(logits)) => self.spans(logits.clone()),
            (Target::Choice(_), Some(scores), _) => self.choices(scores.clone()),
            (Target::Tags(_), Some(logits), _) => self.tags(logits.clone()),
            (Target::Number(_), Some(scores), _) => self.numbers(scores.clone()),
            (Target::Classes(_), Some(logits), _) => self.any_classes(logits.clone()),
            (Target::Class(_), Some(logits), _) if !self.teaching.contrast => {
                self.classes(logits.clone())
            }
            (Target::Alike(_), ..) => self.alike(self.vectors(output)),
            (Target::Match, ..) => self.matches(self.vectors(output)),
            // Vectors that tell classes apart.
            _ => self.contrast(self.vectors(output)),
        }
    }

    fn integers(&self, values: impl Iterator<Item = usize>) -> Tensor<B, 1, Int> {
        let values: Vec<i32> = values.map(|value| value as i32).collect();
        Tensor::from_data(TensorData::from(values.as_slice()), self.device)
    }

    fn floats<const D: usize>(&self, values: Vec<f32>, shape: [usize; D]) -> Tensor<B, D> {
        Tensor::from_data(TensorData::new(values, shape), self.device)
    }

    /// Cross-entropy of one class a row.
    fn classes(&self, logits: Tensor<B, 2>) -> Tensor<B, 1> {
        let class = |item: &&Item| match item.target {
            Target::Class(class) => class,
            _ => 0,
        };
        let labels = || self.items.iter().map(class);
        let weights = &self.teaching.class_weights;
        if weights.is_empty() {
            return B::cross_entropy(logits, self.integers(labels()));
        }
        let weights: Vec<f32> = labels().map(|class| weights[class]).collect();
        let (count, sum) = (weights.len(), weights.iter().sum::<f32>());
        let weights = self.floats(weights, [count, 1]);
        let labels = self.integers(labels()).reshape([count, 1]);
        let picked = activation::log_softmax(logits, 1).gather(1, labels);
        (picked * weights).sum().neg() / f64::from(sum)
    }

    /// Binary cross-entropy of every class of every row.
    fn any_classes(&self, logits: Tensor<B, 2>) -> Tensor<B, 1> {
        let shape = logits.dims();
        let wanted = self.items.iter().flat_map(|item| match &item.target {
            Target::Classes(classes) => classes.iter().map(|&is| f32::from(is)).collect(),
            _ => Vec::new(),
        });
        let wanted = self.floats(wanted.collect(), shape);
        // log(1 + e^-|x|) + max(x, 0) - x y: nothing overflows.
        let rest = (logits.clone().abs().neg().exp() + 1.0).log();
        (rest + logits.clone().clamp_min(0.0) - logits * wanted).mean()
    }

    /// Mean squared error.
    fn numbers(&self, scores: Tensor<B, 2>) -> Tensor<B, 1> {
        let wanted = self.items.iter().map(|item| match item.target {
            Target::Number(number) => number,
            _ => 0.0,
        });
        let shape = scores.dims();
        let wanted = self.floats(wanted.collect(), shape);
        (scores - wanted).square().mean()
    }

    /// Cross-entropy of the tag at each word's first piece.
    fn tags(&self, logits: Tensor<B, 2>) -> Tensor<B, 1> {
        let starts = self.batch.rows().starts();
        let tags = || {
            let of_item = |(item, &start): (&&Item, &usize)| match &item.target {
                Target::Tags(tags) => tags.iter().map(|&(at, tag)| (start + at, tag)).collect(),
                _ => Vec::new(),
            };
            self.items.iter().zip(starts).flat_map(of_item)
        };
        let places = self.integers(tags().map(|(place, _)| place));
        let labels = self.integers(tags().map(|(_, tag)| tag));
        B::cross_entropy(B::pick(logits, places), labels)
    }

    /// Mean of the cross-entropies of the beginning and the end among a row's tokens.
    fn spans(&self, logits: Tensor<B, 2>) -> Tensor<B, 1> {
        let rows = self.batch.rows();
        let lengths = rows.lengths().to_vec();
        let span = |item: &&Item| match item.target {
            Target::Span(start, end) => [start, end],
            _ => [0, 0],
        };
        let side = |side: usize| {
            let column = logits.clone().narrow(1, side, 1); // [tokens, 1]
            let table = self.ragged(column, rows.starts(), &lengths);
            let labels = self.items.iter().map(|item| span(item)[side]);
            B::cross_entropy(table, self.integers(labels))
        };
        (side(0) + side(1)) / 2.0
    }

    /// Cross-entropy of the right row among an item's.
    fn choices(&self, scores: Tensor<B, 2>) -> Tensor<B, 1> {
        let lengths: Vec<usize> = self.items.iter().map(|item| item.rows.len()).collect();
        let starts: Vec<usize> = lengths
            .iter()
            .scan(0, |next, length| {
                let start = *next;
                *next += length;
                Some(start)
            })
            .collect();
        let table = self.ragged(scores, &starts, &lengths);
        let labels = self.items.iter().map(|item| match item.target {
            Target::Choice(choice) => choice,
            _ => 0,
        });
        B::cross_entropy(table, self.integers(labels))
    }

    /// Stretches of one column `[all, 1]` as the rows of a table `[stretches, longest]`, with
    /// logits of nothing behind the short ones.
    fn ragged(&self, column: Tensor<B, 2>, starts: &[usize], lengths: &[usize]) -> Tensor<B, 2> {
        let longest = lengths.iter().copied().max().unwrap_or(1);
        let stretches = || starts.iter().zip(lengths);
        let places = stretches().flat_map(|(&start, &length)| {
            (0..longest).map(move |j| start + if j < length { j } else { 0 })
        });
        let masks = stretches().flat_map(|(_, &length)| {
            (0..longest).map(move |j| if j < length { 0.0 } else { NOTHING })
        });
        let shape = [lengths.len(), longest];
        let table = B::pick(column, self.integers(places)).reshape(shape);
        table + self.floats(masks.collect(), shape)
    }

    /// What a row is to a head that reads rows: the pooled vector under a classifier, else the mean
    /// of the last hidden states; of length 1: `[rows, hidden]`.
    fn vectors(&self, output: &TaskOutput<B>) -> Tensor<B, 2> {
        if let (Architecture::SequenceClassification, Some(pooled)) =
            (self.architecture, &output.albert.pooled)
        {
            return unit(pooled.clone());
        }
        unit_means(
            self.batch,
            output.albert.last_hidden_state.clone(),
            self.device,
        )
    }

    /// The cosine of each pair of rows, `[pairs]`, from vectors that lie beside each other.
    fn cosines(&self, vectors: Tensor<B, 2>) -> Tensor<B, 1> {
        let [rows, width] = vectors.dims();
        let pairs = vectors.reshape([rows / 2, 2, width]);
        let first = pairs.clone().narrow(1, 0, 1);
        let product: Tensor<B, 3> = first * pairs.narrow(1, 1, 1);
        product.sum_dim(2).reshape([rows / 2])
    }

    /// CoSENT (Su 2022): pairs that are more alike should have the greater cosines.
    fn alike(&self, vectors: Tensor<B, 2>) -> Tensor<B, 1> {
        let count = self.items.len();
        let cosines = self.cosines(vectors) * SHARPNESS;
        let rows = cosines.clone().reshape([1, count]).expand([count, count]);
        let columns = cosines.reshape([count, 1]).expand([count, count]);
        let number = |item: &&Item| match item.target {
            Target::Alike(number) => number,
            _ => 0.0,
        };
        let numbers: Vec<f32> = self.items.iter().map(number).collect();
        let counts = numbers.iter().flat_map(|less| {
            let against = numbers.iter();
            against.map(move |more| if less < more { 0.0 } else { NOTHING })
        });
        // Row i, column j: i is less alike than j.
        let differences = columns - rows + self.floats(counts.collect(), [count, count]);
        // log(1 + sum of e^x), the 1 as one more column of 0.
        let all = differences.reshape([1, count * count]);
        let zero = Tensor::zeros([1, 1], self.device);
        let all = Tensor::cat(vec![all, zero], 1);
        let last = self
            .integers(std::iter::once(count * count))
            .reshape([1, 1]);
        activation::log_softmax(all, 1)
            .gather(1, last)
            .neg()
            .reshape([1])
    }

    /// Each first text should find its second among all of the batch (Henderson et al. 2017).
    fn matches(&self, vectors: Tensor<B, 2>) -> Tensor<B, 1> {
        let [rows, width] = vectors.dims();
        let pairs = vectors.reshape([rows / 2, 2, width]);
        let side = |side| -> Tensor<B, 2> {
            let side: Tensor<B, 3> = pairs.clone().narrow(1, side, 1);
            side.reshape([rows / 2, width])
        };
        let scores = side(0).matmul(side(1).transpose()) * SHARPNESS;
        let labels = || self.integers(0..rows / 2);
        let there = B::cross_entropy(scores.clone(), labels());
        let back = B::cross_entropy(scores.transpose(), labels());
        (there + back) / 2.0
    }

    /// Texts of one class should lie nearer to each other than to others (Khosla et al. 2020,
    /// equation 2).
    fn contrast(&self, vectors: Tensor<B, 2>) -> Tensor<B, 1> {
        let [rows, _] = vectors.dims();
        let class = |item: &&Item| match item.target {
            Target::Class(class) => class,
            _ => 0,
        };
        let classes: Vec<usize> = self.items.iter().map(class).collect();
        let scores = vectors.clone().matmul(vectors.transpose()) * SHARPNESS;
        let mut itself = vec![0.0; rows * rows];
        let mut wanted = vec![0.0; rows * rows];
        for i in 0..rows {
            itself[i * rows + i] = NOTHING;
            let same = |j: &usize| *j != i && classes[*j] == classes[i];
            let count = (0..rows).filter(same).count();
            for j in (0..rows).filter(same) {
                wanted[i * rows + j] = 1.0 / count as f32;
            }
        }
        let sum = wanted.iter().sum::<f32>().max(1.0);
        let shape = [rows, rows];
        let scores = activation::log_softmax(scores + self.floats(itself, shape), 1);
        (scores * self.floats(wanted, shape)).sum().neg() / f64::from(sum)
    }
}

/// The mean of each row's hidden states `[tokens, hidden]`, of length 1: `[rows, hidden]`.
pub(crate) fn unit_means<B: AlbertBackend>(
    batch: &InputBatch<B>,
    hidden: Tensor<B, 2>,
    device: &B::Device,
) -> Tensor<B, 2> {
    let rows = batch.rows();
    let [tokens, _] = hidden.dims();
    let mut means = vec![0.0; rows.count() * tokens];
    let ranges = rows.starts().iter().zip(rows.lengths()).enumerate();
    for (row, (&start, &length)) in ranges {
        means[row * tokens + start..][..length].fill(1.0 / length as f32);
    }
    let means = TensorData::new(means, [rows.count(), tokens]);
    unit(Tensor::<B, 2>::from_data(means, device).matmul(hidden))
}

/// The same rows with length 1.
fn unit<B: AlbertBackend>(rows: Tensor<B, 2>) -> Tensor<B, 2> {
    let norms = rows.clone().square().sum_dim(1).sqrt().clamp_min(1e-12);
    rows / norms
}
