//! The part of a context that answers a question (Rajpurkar et al. 2016).

use std::sync::Arc;

use albert_checkpoint::Architecture;
use albert_engine::Engine;
use albert_text::{Encoding, Tokenizer};
use serde::Serialize;

use crate::rows::{Row, Wanted, sigmoid, softmax};
use crate::spans::{CANDIDATES, Window, best_spans, first_alike, null_score};
use crate::{Asked, Error, LongText, Result, TaskSettings, features};

/// The most pieces of a window where nobody says otherwise: SQuAD's usual length.
pub const ANSWER_LENGTH: usize = 384;

/// Answers questions by parts of a text of any length.
#[derive(Clone)]
pub struct Answerer {
    engine: Arc<Engine>,
    tokenizer: Arc<Tokenizer>,
    settings: TaskSettings,
}

/// How to answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AnswerOptions {
    /// The most answers.
    pub top: usize,
    /// The most pieces of an answer.
    pub max_answer_pieces: usize,
    /// The most pieces of a window; without it the folder's, or [`ANSWER_LENGTH`].
    pub max_length: Option<usize>,
    /// Pieces of the context that neighbouring windows share; without it a third of a window, at
    /// most 128.
    pub stride: Option<usize>,
}

impl Default for AnswerOptions {
    fn default() -> Self {
        Self {
            top: 1,
            // As Google's and transformers' code.
            max_answer_pieces: 30,
            max_length: None,
            stride: None,
        }
    }
}

/// A part of the context.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Answer {
    /// What it says, letter by letter as in the context.
    pub text: String,
    /// Its first character in the context (Unicode scalar values).
    pub start: usize,
    /// The character behind its last.
    pub end: usize,
    /// Its probability among all candidates: the sum over the places that say the same.
    pub confidence: f32,
    /// The sum of the logits of its beginning and end.
    pub score: f32,
}

/// What is said to a question.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Answered {
    /// The best answers by their scores, best first; none says the same as another or overlaps it.
    pub answers: Vec<Answer>,
    /// Whether the model finds that the context has no answer; the answers are the best all the
    /// same. Always false of a model that has not learnt to tell.
    pub no_answer: bool,
    /// How likely that is, by the scores: 0.5 at the folder's threshold. A model that has not learnt to
    /// tell has none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub no_answer_probability: Option<f32>,
    /// By how much the score of no answer exceeds the best answer's.
    pub no_answer_score: f32,
    /// Into how many windows the context was cut.
    pub windows: usize,
    /// Pieces left out because the text is longer than the model reads.
    pub truncated: usize,
}

impl Answerer {
    /// A task over a folder with a question-answering head.
    ///
    /// # Errors
    /// [`Error::NoHead`] for another folder.
    pub fn new(engine: Arc<Engine>, tokenizer: Arc<Tokenizer>) -> Result<Self> {
        match engine.config().architecture {
            Architecture::QuestionAnswering => Ok(Self {
                engine,
                tokenizer,
                settings: TaskSettings::default(),
            }),
            _ => Err(Error::no_head("answer", "question answering", &engine)),
        }
    }

    /// The same with what the folder's `task.json` says.
    pub fn with_settings(mut self, settings: TaskSettings) -> Self {
        self.settings = settings;
        self
    }

    /// The parts of `context` that answer `question` best.
    ///
    /// A context of any length is read in overlapping windows; an answer's place is exact in the
    /// context as given.
    ///
    /// # Errors
    /// A question or a context that is blank, a question that leaves no room for the context, and
    /// what the engine refuses.
    pub fn answer(
        &self,
        question: &str,
        context: &str,
        options: &AnswerOptions,
    ) -> Result<Answered> {
        self.ask(question, context, options, None)?
            .run(&self.engine)
    }

    /// The rows of a question for others to run, one a window, and the way from their numbers to
    /// [`Answerer::answer`]'s answer. The context is read in windows unless told; where it is cut,
    /// the first is all there is.
    ///
    /// # Errors
    /// As [`Answerer::answer`], and [`Error::TooLong`].
    pub fn ask(
        &self,
        question: &str,
        context: &str,
        options: &AnswerOptions,
        long: Option<LongText>,
    ) -> Result<Asked<Answered>> {
        let positions = self.engine.config().max_position_embeddings;
        let max_length = options.max_length.or(self.settings.max_length);
        let max_length = max_length.unwrap_or(ANSWER_LENGTH).min(positions);
        let stride = options.stride.unwrap_or(128).min(max_length / 3);
        let mut windows =
            features::question(&self.tokenizer, question, context, max_length, stride)?;
        let mut truncated = 0;
        if windows.len() > 1 && matches!(long, Some(LongText::Refuse | LongText::Cut)) {
            let whole = self
                .tokenizer
                .encode_pair(question, context, &Default::default())?;
            LongText::check(long, whole.len(), max_length)?;
            if long == Some(LongText::Cut) {
                windows.truncate(1);
                truncated = whole.len().saturating_sub(windows[0].len());
            }
        }
        let rows = windows.iter().map(Row::from).collect();
        let (context, options, settings) = (context.to_owned(), *options, self.settings.clone());
        let side = |row: &[f32], side: usize| row.iter().skip(side).step_by(2).copied().collect();
        Ok(Asked::new(
            rows,
            Wanted::Spans,
            move |_, row| [0, 1].map(|number| side(&row, number)),
            move |sides: Vec<[Vec<f32>; 2]>| {
                let answered = answered(&windows, &sides, &context, &options, &settings);
                Answered {
                    truncated,
                    ..answered
                }
            },
        ))
    }
}

/// What the logits of a question's windows, beginnings and ends, say.
fn answered(
    windows: &[Encoding],
    sides: &[[Vec<f32>; 2]],
    context: &str,
    options: &AnswerOptions,
    settings: &TaskSettings,
) -> Answered {
    let windows: Vec<Window<'_>> = windows
        .iter()
        .zip(sides)
        .map(|(encoding, [start, end])| Window {
            encoding,
            start,
            end,
        })
        .collect();

    let at_most = options.top.max(CANDIDATES);
    let spans = best_spans(&windows, at_most, options.max_answer_pieces);
    let scores: Vec<f32> = spans.iter().map(|span| span.score).collect();
    let confidences = softmax(&scores, settings.temperature.unwrap_or(1.0));
    // One pass over the context: characters are not all of one length.
    let places: Vec<usize> = context.char_indices().map(|(at, _)| at).collect();
    let byte = |character: usize| places.get(character).copied().unwrap_or(context.len());
    let texts = spans
        .iter()
        .map(|span| &context[byte(span.start)..byte(span.end)]);
    let texts: Vec<String> = texts.map(str::to_owned).collect();
    let first = first_alike(&texts);
    let sum_of = |place: usize| {
        let alike = first
            .iter()
            .zip(&confidences)
            .filter(|(first, _)| **first == place);
        alike.map(|(_, confidence)| confidence).sum::<f32>()
    };
    let answers: Vec<Answer> = spans
        .iter()
        .zip(&texts)
        .enumerate()
        .filter(|(place, _)| first[*place] == *place)
        .take(options.top)
        .map(|(place, (span, text))| Answer {
            text: text.clone(),
            start: span.start,
            end: span.end,
            // A sum of shares may be rounded to a hair above one.
            confidence: sum_of(place).min(1.0),
            score: span.score,
        })
        .collect();
    let best = scores.first().copied().unwrap_or(f32::MIN);
    let no_answer_score = null_score(&windows) - best;
    let threshold = settings.no_answer_threshold;
    Answered {
        no_answer: answers.is_empty() || threshold.is_some_and(|t| no_answer_score > t),
        no_answer_probability: threshold.map(|t| sigmoid(no_answer_score - t)),
        no_answer_score,
        answers,
        windows: windows.len(),
        truncated: 0,
    }
}
