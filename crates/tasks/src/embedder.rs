//! Vectors of texts, and how alike two are.

use std::sync::Arc;

use albert_engine::Engine;
use albert_text::{EncodeOptions, Encoding, Tokenizer};
use serde::Serialize;

use crate::rows::{Row, Wanted};
use crate::{Asked, LongText, Pooling, Result, TaskSettings};

/// Turns texts into vectors; any folder has what it needs.
#[derive(Clone)]
pub struct Embedder {
    engine: Arc<Engine>,
    tokenizer: Arc<Tokenizer>,
    settings: TaskSettings,
}

/// A text's vector.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Embedding {
    /// `[hidden]`, of length 1.
    pub vector: Vec<f32>,
    /// Into how many windows the text was cut; the vector is their mean by pieces.
    pub windows: usize,
    /// Pieces left out because the text is longer than the model reads.
    pub truncated: usize,
}

impl Embedder {
    /// A task over any folder.
    pub fn new(engine: Arc<Engine>, tokenizer: Arc<Tokenizer>) -> Self {
        Self {
            engine,
            tokenizer,
            settings: TaskSettings::default(),
        }
    }

    /// The same with what the folder's `task.json` says.
    pub fn with_settings(mut self, settings: TaskSettings) -> Self {
        self.settings = settings;
        self
    }

    /// With this pooling instead of the folder's.
    pub fn with_pooling(mut self, pooling: Pooling) -> Self {
        self.settings.pooling = Some(pooling);
        self
    }

    /// The vector of each text.
    ///
    /// # Errors
    /// [`crate::Error::NotFinite`], and what the tokenizer or the engine refuse.
    pub fn embed(&self, texts: &[&str]) -> Result<Vec<Embedding>> {
        let asked = texts.iter().map(|text| self.ask(text, None));
        Asked::run_all(asked.collect::<Result<_>>()?, &self.engine)
    }

    /// The rows of a text for others to run, one a window, and the way from their numbers to its
    /// vector. A long text is read in windows unless told.
    ///
    /// # Errors
    /// [`crate::Error::TooLong`], and the tokenizer's.
    pub fn ask(&self, text: &str, long: Option<LongText>) -> Result<Asked<Embedding>> {
        // A model reads as far as its positions, however short the texts that it learnt from.
        let positions = self.engine.config().max_position_embeddings;
        let options = EncodeOptions {
            parse_specials: false,
            ..EncodeOptions::default()
        };
        let mut windows = self.tokenizer.windows(None, text, positions, 0, &options)?;
        // Without what is added at both ends.
        let pieces = |windows: &[Encoding]| windows.iter().map(|window| window.len() - 2).sum();
        let all: usize = pieces(&windows);
        if windows.len() > 1 {
            LongText::check(long, all + 2, positions)?;
        }
        if long == Some(LongText::Cut) {
            windows.truncate(1);
        }
        let truncated = all - pieces(&windows);
        let rows: Vec<Row> = windows.iter().map(Row::from).collect();
        let hidden = self.engine.config().hidden_size;
        let pooling = self.settings.pooling.unwrap_or_default();
        Ok(Asked::new(
            rows,
            Wanted::States,
            move |_, states| pooled(&states, hidden, pooling),
            move |windows| {
                let count = windows.len();
                Embedding {
                    vector: unit_sum(&windows, hidden),
                    windows: count,
                    truncated,
                }
            },
        ))
    }

    /// The cosine of the vectors of two texts, from -1 to 1.
    ///
    /// # Errors
    /// As [`Embedder::embed`].
    pub fn similarity(&self, a: &str, b: &str) -> Result<f32> {
        let both = self.embed(&[a, b])?;
        Ok(cosine(&both[0].vector, &both[1].vector))
    }
}

/// The sum of a window's hidden states, `[tokens, hidden]`, or its first as often as it has tokens.
fn pooled(states: &[f32], hidden: usize, pooling: Pooling) -> Vec<f64> {
    let mut sum = vec![0.0_f64; hidden];
    let mut add = |state: &[f32], weight: f64| {
        for (sum, value) in sum.iter_mut().zip(state) {
            *sum += weight * f64::from(*value);
        }
    };
    match pooling {
        Pooling::Mean => states.chunks(hidden).for_each(|state| add(state, 1.0)),
        Pooling::Cls => add(&states[..hidden], (states.len() / hidden) as f64),
    }
    sum
}

/// The sum of windows' vectors, brought to length 1.
fn unit_sum(windows: &[Vec<f64>], hidden: usize) -> Vec<f32> {
    let mut sum = vec![0.0_f64; hidden];
    for window in windows {
        sum.iter_mut().zip(window).for_each(|(sum, x)| *sum += x);
    }
    let norm = sum.iter().map(|x| x * x).sum::<f64>().sqrt().max(1e-12);
    sum.iter().map(|x| (x / norm) as f32).collect()
}

/// The cosine of two vectors of length 1.
pub fn cosine(a: &[f32], b: &[f32]) -> f32 {
    let products = a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b));
    products.sum::<f64>() as f32
}
