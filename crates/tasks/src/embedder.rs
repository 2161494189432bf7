//! Vectors of texts, and how alike two are.

use std::sync::Arc;

use albert_engine::{Engine, What};
use albert_text::{EncodeOptions, Encoding, Tokenizer};
use serde::Serialize;

use crate::rows::{Of, outputs};
use crate::{Pooling, Result, TaskSettings};

/// Turns texts into vectors; any folder has what it needs.
pub struct Embedder {
    engine: Arc<Engine>,
    tokenizer: Arc<Tokenizer>,
    settings: TaskSettings,
}

/// A text's vector.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Embedding {
    /// `[hidden]`, of length 1.
    pub vector: Vec<f32>,
    /// Into how many windows the text was cut; the vector is their mean by pieces.
    pub windows: usize,
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
        // A model reads as far as its positions, however short the texts that it learnt from.
        let positions = self.engine.config().max_position_embeddings;
        let options = EncodeOptions {
            parse_specials: false,
            ..EncodeOptions::default()
        };
        let windows = texts
            .iter()
            .map(|text| Ok(self.tokenizer.windows(None, text, positions, 0, &options)?))
            .collect::<Result<Vec<Vec<Encoding>>>>()?;
        let rows: Vec<&Encoding> = windows.iter().flatten().collect();
        let what = What {
            last_hidden_state: true,
            ..What::default()
        };
        let take = |outputs: albert_engine::Outputs| outputs.last_hidden_state;
        let states = outputs(&self.engine, &rows, &what, Of::Tokens, take)?;
        let mut states = states.iter();
        Ok(windows
            .iter()
            .map(|windows| {
                let own: Vec<&[f32]> = states
                    .by_ref()
                    .take(windows.len())
                    .map(Vec::as_slice)
                    .collect();
                Embedding {
                    vector: self.pooled(&own),
                    windows: windows.len(),
                }
            })
            .collect())
    }

    /// The cosine of the vectors of two texts, from -1 to 1.
    ///
    /// # Errors
    /// As [`Embedder::embed`].
    pub fn similarity(&self, a: &str, b: &str) -> Result<f32> {
        let both = self.embed(&[a, b])?;
        Ok(cosine(&both[0].vector, &both[1].vector))
    }

    /// The unit vector of windows' hidden states, each `[tokens, hidden]`.
    fn pooled(&self, windows: &[&[f32]]) -> Vec<f32> {
        let hidden = self.engine.config().hidden_size;
        let mut sum = vec![0.0_f64; hidden];
        let mut add = |state: &[f32], weight: f64| {
            for (sum, value) in sum.iter_mut().zip(state) {
                *sum += weight * f64::from(*value);
            }
        };
        for states in windows {
            match self.settings.pooling.unwrap_or_default() {
                Pooling::Mean => states.chunks(hidden).for_each(|state| add(state, 1.0)),
                Pooling::Cls => add(&states[..hidden], (states.len() / hidden) as f64),
            }
        }
        let norm = sum.iter().map(|x| x * x).sum::<f64>().sqrt().max(1e-12);
        sum.iter().map(|x| (x / norm) as f32).collect()
    }
}

/// The cosine of two vectors of length 1.
pub fn cosine(a: &[f32], b: &[f32]) -> f32 {
    let products = a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b));
    products.sum::<f64>() as f32
}
