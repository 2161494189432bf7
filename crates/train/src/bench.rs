//! Pretraining steps on generated tokens, timed: what `albert bench train` prints.

use std::sync::Arc;
use std::time::{Duration, Instant};

use albert_checkpoint::AlbertConfig;
use albert_model::{AlbertForPreTraining, Precision, TrainingBackend};

use crate::batches::{BatchSource, Masks, Position, Prepared};
use crate::corpus::Owned;
use crate::error::{Error, Result};
use crate::evaluate::{scalar, to_device};
use crate::examples::{PairRules, SPECIALS, SentenceTask};
use crate::memory;
use crate::optim::{AdamW, AdamWConfig, Gradients, Optimizer};
use crate::random::{Random, SplitMix64};
use crate::recipe::MaskingRecipe;
use crate::vocabulary::Vocabulary;

/// Steps before the clock starts: the first makes the moments, the second the memory that later
/// ones use again.
const WARMUP: usize = 2;

/// What to time.
#[derive(Clone, Debug)]
pub struct BenchOptions {
    /// The model; its vocabulary is the generated text's.
    pub config: AlbertConfig,
    /// Rows of a step.
    pub batch: usize,
    /// Positions of every row.
    pub length: usize,
    /// Steps to time, after two that are not.
    pub steps: usize,
    /// How numbers enter matrix products.
    pub precision: Precision,
}

/// What the steps took.
#[derive(Clone, Debug, PartialEq)]
pub struct BenchReport {
    /// Positions of a step.
    pub tokens_per_step: usize,
    /// Each step's time, in order.
    pub times: Vec<Duration>,
    /// Bytes that training on the CPU was reckoned to need.
    pub estimated_bytes: u64,
    /// The loss of the last step, as a sign that something was computed.
    pub loss: f32,
}

impl BenchReport {
    /// The median time of a step.
    pub fn median(&self) -> Duration {
        let mut times = self.times.clone();
        times.sort_unstable();
        match times.len() {
            0 => Duration::ZERO,
            n if n % 2 == 1 => times[n / 2],
            n => (times[n / 2 - 1] + times[n / 2]) / 2,
        }
    }

    /// Positions a second, at the median.
    pub fn tokens_per_second(&self) -> f64 {
        self.tokens_per_step as f64 / self.median().as_secs_f64().max(1e-9)
    }
}

/// Times real pretraining steps: rows are paired, split and masked as in a run, by the thread that
/// prepares them; then come the forward pass, both losses, the backward pass, clipping and AdamW.
/// Every row has exactly `length` positions. `stepped` is told, outside the clock, how many steps were
/// timed so far.
///
/// # Errors
/// The configuration is invalid, a row is too short for a pair or longer than the model's
/// positions, or the batch is too large.
pub fn bench_training<B: TrainingBackend>(
    options: &BenchOptions,
    device: &B::Device,
    mut stepped: impl FnMut(usize),
) -> Result<BenchReport> {
    let BenchOptions {
        config,
        batch,
        length,
        ..
    } = options;
    if *length < SPECIALS + 2 || *length > config.max_position_embeddings {
        let most = config.max_position_embeddings;
        let message = format!("must be from {} to {most}, not {length}", SPECIALS + 2);
        return Err(Error::field("length", message));
    }
    let masking = MaskingRecipe::default();
    let shape = memory::Shape {
        layers: config.num_hidden_layers,
        rows: *batch,
        length: *length,
        masked: masking.share,
    };
    if B::HOST {
        memory::check("batch", config, shape, 1)?;
    }
    let source = BatchSource {
        masks: Masks::Training(masking.rules()),
        ..generated(config.vocab_size, *batch, *length)
    };
    let model = AlbertForPreTraining::<B>::init(config, 0, device)?;
    let mut model = model.with_precision(options.precision);
    let mut optimizer = AdamW::<B>::new(AdamWConfig::default());
    let mut batches = Prepared::new(source, Position::default());
    let mut report = BenchReport {
        tokens_per_step: batch * length,
        times: Vec::new(),
        estimated_bytes: memory::step_bytes(config, shape),
        loss: f32::NAN,
    };
    for step in 0..WARMUP + options.steps {
        let start = Instant::now();
        let Some(host) = batches.next().transpose()? else {
            let message = "no pair of sentences fits".into();
            return Err(Error::SmallCorpus { message });
        };
        let host = to_device::<B>(&host, config.max_position_embeddings, device);
        let output = model.forward(&host, None)?;
        let mut gradients = Gradients::new();
        gradients.add(&model, output.loss.backward());
        let loss = output.loss.inner();
        drop((output.masked_lm_logits, output.order_logits));
        let gradients = match B::HOST {
            true => gradients.take_clipped(1.0)?.0,
            false => gradients.take_clipped_on_device(1.0, loss.clone()).0,
        };
        model = optimizer.step(model, gradients, 1e-4)?;
        // On another device, the wait for all of the step but the last weights.
        report.loss = scalar(loss);
        if step >= WARMUP {
            report.times.push(start.elapsed());
            stepped(report.times.len());
        }
    }
    Ok(report)
}

/// Documents of two sentences that together fill a row, of random pieces that each are a word.
fn generated(vocab_size: usize, batch: usize, length: usize) -> BatchSource {
    let mut random = SplitMix64::new(0);
    let vocabulary = Vocabulary::generated(vocab_size);
    let mut corpus = Owned::new(vocab_size);
    let ordinary = vocabulary.ordinary();
    let documents = 16 * batch;
    for _ in 0..documents {
        let first = 1 + random.below(length - SPECIALS - 1);
        let mut sentence = |pieces: usize| -> Vec<u32> {
            (0..pieces)
                .map(|_| ordinary[random.below(ordinary.len())])
                .collect()
        };
        corpus.push(&[sentence(first), sentence(length - SPECIALS - first)]);
    }
    BatchSource {
        corpus: Arc::new(corpus.into()),
        documents: Arc::new((0..documents as u32).collect()),
        vocabulary: Arc::new(vocabulary),
        pairs: PairRules {
            length,
            short_share: 0.0,
            both_orders: false,
            task: SentenceTask::Order,
        },
        masks: Masks::Scoring,
        rows: batch,
        seed: 0,
    }
}

#[cfg(test)]
mod tests {
    use albert_checkpoint::Architecture;
    use albert_model::Cpu;

    use super::*;

    #[test]
    fn every_row_is_full_and_steps_are_timed() {
        let source = generated(100, 4, 24);
        let batch = Prepared::new(source, Position::default()).next();
        let batch = batch.expect("a batch").expect("no error");
        assert_eq!(batch.lengths, [24; 4]);

        let mut config = AlbertConfig::preset("tiny").expect("a preset");
        config.architecture = Architecture::PreTraining;
        let mut options = BenchOptions {
            config,
            batch: 4,
            length: 24,
            steps: 3,
            precision: Precision::F32,
        };
        let mut told = 0;
        let report = bench_training::<Cpu>(&options, &Default::default(), |step| told = step)
            .expect("a report");
        assert_eq!((report.tokens_per_step, report.times.len()), (96, 3));
        assert_eq!(told, 3);
        assert!(report.loss.is_finite() && report.tokens_per_second() > 0.0);
        options.length = 4;
        let error =
            bench_training::<Cpu>(&options, &Default::default(), |_| ()).expect_err("too short");
        assert!(error.to_string().contains("`length`"), "{error}");
    }

    #[test]
    fn the_median_is_in_the_middle() {
        let report = |times: &[u64]| BenchReport {
            tokens_per_step: 100,
            times: times.iter().map(|&ms| Duration::from_millis(ms)).collect(),
            estimated_bytes: 0,
            loss: 0.0,
        };
        assert_eq!(report(&[30, 10, 20]).median(), Duration::from_millis(20));
        assert_eq!(
            report(&[40, 10, 20, 30]).median(),
            Duration::from_millis(25)
        );
        assert_eq!(report(&[50]).tokens_per_second(), 2000.0);
    }
}
