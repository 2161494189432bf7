//! Questions about contexts, as SQuAD's official scripts score them.

use albert_data::QuestionExample;
use albert_data::metrics::{self, SquadScript};
use albert_tasks::{AnswerOptions, Answerer};

use crate::ask::{Asking, BINS, EXAMPLES_AT_ONCE, Progress};
use crate::evaluation::{Evaluation, Mistake, Prediction};
use crate::{Error, Result};

/// What was said to a question, and what it is worth.
struct Said {
    exact: f64,
    f1: f64,
    /// The same of the best part of the context, whether or not it was taken for an answer.
    exact_of_best: f64,
    f1_of_best: f64,
    no_answer: f64,
    has_answer: bool,
    /// How sure the model was of that part.
    confidence: f64,
}

/// What of it is averaged.
type Part = fn(&Said) -> f64;

impl Said {
    fn answered(&self, score: f64) -> metrics::Answered {
        metrics::Answered {
            score,
            no_answer: self.no_answer,
            has_answer: self.has_answer,
        }
    }
}

impl Asking<'_> {
    pub(crate) fn questions(
        &self,
        examples: &[QuestionExample],
        evaluation: &mut Evaluation,
        progress: &mut Progress<'_>,
    ) -> Result<()> {
        let (engine, tokenizer, settings) = self.parts();
        let task = Answerer::new(engine, tokenizer)?.with_settings(settings);
        let options = AnswerOptions::default();
        let script = match examples.iter().any(|example| example.impossible) {
            true => SquadScript::V2,
            false => SquadScript::V1,
        };
        let mut said = Vec::with_capacity(examples.len());
        let mut lost: Vec<&str> = Vec::new();
        for (i, example) in examples.iter().enumerate() {
            let answered = task.answer(&example.question, &example.context, &options);
            let answered = answered.map_err(|source| Error::Example {
                path: self.path.to_owned(),
                place: format!("question {}", example.id),
                source: Box::new(source),
            })?;
            let best = answered.answers.first();
            let text = best.map_or("", |best| best.text.as_str());
            let confidence = best.map(|best| best.confidence);
            let right: Vec<&str> = example.answers.iter().map(|a| a.text.as_str()).collect();
            let there = |text: &&str| example.context.contains(text.trim());
            if !example.impossible && !right.iter().any(there) {
                lost.push(&example.id);
            }
            let answer = if answered.no_answer { "" } else { text };
            let now = Said {
                exact: script.exact(answer, &right),
                f1: script.f1(answer, &right),
                exact_of_best: script.exact(text, &right),
                f1_of_best: script.f1(text, &right),
                no_answer: f64::from(answered.no_answer_score),
                has_answer: !example.impossible,
                confidence: f64::from(confidence.unwrap_or(0.0)),
            };
            if now.f1 < 0.5 {
                evaluation.mistakes.push(Mistake {
                    place: format!("question {}", example.id),
                    text: example.question.clone(),
                    guess: answer.to_owned(),
                    right: right.join(" | "),
                    confidence,
                });
            }
            evaluation.predictions.push(Prediction {
                id: example.id.clone(),
                answer: answer.to_owned(),
                confidence,
            });
            said.push(now);
            if (i + 1).is_multiple_of(EXAMPLES_AT_ONCE / 8) || i + 1 == examples.len() {
                progress(i + 1, examples.len());
            }
        }
        if let Some(first) = lost.first() {
            evaluation.notes.push(format!(
                "{}: {} of {} questions have answers that do not occur in their contexts; the first is question {first}",
                self.path.display(),
                lost.len(),
                examples.len()
            ));
        }
        tell(&said, evaluation);
        Ok(())
    }
}

/// The mean of a part of what was said to the questions that are drawn; of none of them, nought.
fn mean(said: &[Said], drawn: &[usize], part: Option<bool>, of: Part) -> f64 {
    let chosen = drawn.iter().map(|&i| &said[i]);
    let chosen = chosen.filter(|said| part.is_none_or(|part| said.has_answer == part));
    let (sum, count) = chosen.fold((0.0, 0_usize), |(sum, count), said| {
        (sum + of(said), count + 1)
    });
    sum / count.max(1) as f64
}

fn tell(said: &[Said], evaluation: &mut Evaluation) {
    let of_all: [(&str, Part); 2] = [("exact_match", |said| said.exact), ("f1", |said| said.f1)];
    for (name, of) in of_all {
        evaluation.score(name, |drawn| mean(said, drawn, None, of));
    }
    if said.iter().any(|said| said.has_answer) {
        // How far a confidence in the best part of the context is from how often it is the answer.
        evaluation.score("calibration_error", |drawn| {
            let answered = drawn
                .iter()
                .map(|&i| &said[i])
                .filter(|said| said.has_answer);
            let (confidences, right): (Vec<f64>, Vec<bool>) = answered
                .map(|said| (said.confidence, said.exact_of_best == 1.0))
                .unzip();
            metrics::calibration_error(&confidences, &right, BINS)
        });
    }
    if said.iter().all(|said| said.has_answer) {
        return;
    }
    let of_parts: [(&str, bool, Part); 4] = [
        ("has_answer_exact", true, |said| said.exact),
        ("has_answer_f1", true, |said| said.f1),
        ("no_answer_exact", false, |said| said.exact),
        ("no_answer_f1", false, |said| said.f1),
    ];
    for (name, part, of) in of_parts {
        if said.iter().any(|said| said.has_answer == part) {
            evaluation.score(name, |drawn| mean(said, drawn, Some(part), of));
        }
    }
    let best: [(&str, Part); 2] = [
        ("best_exact", |said| said.exact_of_best),
        ("best_f1", |said| said.f1_of_best),
    ];
    for (name, of) in best {
        let of_drawn = |drawn: &[usize]| {
            let answered = drawn.iter().map(|&i| said[i].answered(of(&said[i])));
            metrics::best_threshold(&answered.collect::<Vec<_>>())
        };
        evaluation.score(name, |drawn| of_drawn(drawn).0);
        let all: Vec<usize> = (0..said.len()).collect();
        let threshold = of_drawn(&all).1;
        evaluation
            .metrics
            .insert(format!("{name}_threshold"), threshold);
    }
}
