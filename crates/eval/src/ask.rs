//! Asking the task that fits a data set.

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use albert_data::{
    ChoiceExample, Dataset, Format, OUT_OF_SCOPE, ScoreExample, TagExample, TextExample, metrics,
};
use albert_tasks::engine::Engine;
use albert_tasks::text::Tokenizer;
use albert_tasks::{
    Chooser, Classifier, Embedder, Tagger, TaskSettings, TextInput, cosine, label_id,
};

use crate::evaluation::{Confusion, Evaluation, Mistake, Prediction};
use crate::{Error, Result};

/// So many examples are asked at once; between them progress is told.
pub(crate) const EXAMPLES_AT_ONCE: usize = 256;

/// Bins of the calibration error (Guo et al. 2017).
pub(crate) const BINS: usize = 15;

/// The class of pairs of which the first does not entail the second, in data sets of two classes.
const NOT_ENTAILMENT: &str = "not_entailment";
const ENTAILMENT: &str = "entailment";

/// The tag of a word that is part of nothing.
const OUTSIDE: &str = "O";

/// So many of a regressor's numbers are shown as mistakes: all are a little off.
const WORST: usize = 100;

/// A folder, opened.
#[derive(Clone)]
pub struct Model {
    /// The engine.
    pub engine: Arc<Engine>,
    /// Its tokenizer.
    pub tokenizer: Arc<Tokenizer>,
    /// What its `task.json` says.
    pub settings: TaskSettings,
}

/// Hears how many examples were asked, of how many.
pub type Progress<'a> = dyn FnMut(usize, usize) + 'a;

/// Asks a model every example of a data set and scores what it says.
///
/// `path` is the data set's file, for messages; `format` tells which scores are its official ones.
///
/// # Errors
/// A model without the head that the examples need, a label that it does not have, and what the
/// task refuses, by line.
pub fn evaluate(
    model: &Model,
    data: &Dataset,
    path: &Path,
    format: Option<Format>,
    progress: &mut Progress<'_>,
) -> Result<Evaluation> {
    let asking = Asking {
        model,
        path,
        format,
    };
    let began = Instant::now();
    let mut evaluation = Evaluation {
        rows: data.len(),
        ..Evaluation::default()
    };
    match data {
        Dataset::Classes {
            examples,
            multi_label: false,
        } => asking.classes(examples, &mut evaluation, progress)?,
        Dataset::Classes { examples, .. } => {
            asking.any_classes(examples, &mut evaluation, progress)?;
        }
        Dataset::Scores(examples) => asking.scores(examples, &mut evaluation, progress)?,
        Dataset::Tags(examples) => asking.tags(examples, &mut evaluation, progress)?,
        Dataset::Questions(examples) => asking.questions(examples, &mut evaluation, progress)?,
        Dataset::Choices(examples) => asking.choices(examples, &mut evaluation, progress)?,
    }
    evaluation.seconds = began.elapsed().as_secs_f64();
    evaluation.sort_mistakes();
    Ok(evaluation)
}

/// A model that is asked what is in a file.
pub(crate) struct Asking<'a> {
    model: &'a Model,
    pub(crate) path: &'a Path,
    format: Option<Format>,
}

impl Asking<'_> {
    pub(crate) fn parts(&self) -> (Arc<Engine>, Arc<Tokenizer>, TaskSettings) {
        let Model {
            engine,
            tokenizer,
            settings,
        } = self.model.clone();
        (engine, tokenizer, settings)
    }

    fn classifier(&self) -> Result<Classifier> {
        let (engine, tokenizer, settings) = self.parts();
        Ok(Classifier::new(engine, tokenizer)?.with_settings(settings))
    }

    fn unknown(&self, line: usize, label: &str, known: &[String]) -> Error {
        Error::UnknownLabel {
            path: self.path.to_owned(),
            line,
            label: label.to_owned(),
            known: known.to_vec(),
        }
    }

    fn classes(
        &self,
        examples: &[TextExample],
        evaluation: &mut Evaluation,
        progress: &mut Progress<'_>,
    ) -> Result<()> {
        let task = self.classifier()?;
        let known = task.labels();
        let clinc = self.format == Some(Format::Clinc150);
        // A model of three classes of inference on a data set of two.
        let two = examples.iter().any(|e| e.labels == [NOT_ENTAILMENT])
            && label_id(known, NOT_ENTAILMENT).is_none();
        let entails = label_id(known, ENTAILMENT).filter(|_| two);
        let mut names = match entails {
            Some(_) => vec![ENTAILMENT.to_owned(), NOT_ENTAILMENT.to_owned()],
            None => known.to_vec(),
        };
        if clinc && label_id(&names, OUT_OF_SCOPE).is_none() {
            // A class that this model never guesses.
            names.push(OUT_OF_SCOPE.to_owned());
        }
        let named = |e: &TextExample| e.labels.first().is_some_and(|l| known.contains(l));
        if self.format.is_some_and(of_two_numbers)
            && known.len() != 2
            && !examples.iter().any(named)
        {
            // Else 0 and 1 would be the first two of the model's classes, whatever they are.
            return Err(Error::Kind {
                path: self.path.to_owned(),
                kind: "two classes",
                needed: format!("this model, which has {}, cannot be asked", known.len()),
            });
        }
        let mut labels = Vec::with_capacity(examples.len());
        for example in examples {
            let label = example.labels.first().map_or("", String::as_str);
            let id = label_id(&names, label);
            labels.push(id.ok_or_else(|| self.unknown(example.line, label, known))?);
        }
        let mut guesses = Vec::with_capacity(examples.len());
        let mut confidences = Vec::with_capacity(examples.len());
        for chunk in examples.chunks(EXAMPLES_AT_ONCE) {
            for said in task.classify(&inputs(chunk))? {
                let label = said.label.unwrap_or_default();
                let guess = label_id(known, &label).unwrap_or(0);
                guesses.push(match entails {
                    Some(entails) => usize::from(guess != entails),
                    None => guess,
                });
                confidences.push(said.confidence.unwrap_or(0.0));
            }
            progress(guesses.len(), examples.len());
        }
        self.tell_classes(
            examples,
            &names,
            &guesses,
            &labels,
            &confidences,
            evaluation,
        );
        let pick = |drawn: &[usize], of: &[usize]| drawn.iter().map(|&i| of[i]).collect::<Vec<_>>();
        let both = |drawn: &[usize]| (pick(drawn, &guesses), pick(drawn, &labels));
        evaluation.score("accuracy", |drawn| {
            let (guesses, labels) = both(drawn);
            metrics::accuracy(&guesses, &labels)
        });
        evaluation.score("macro_f1", |drawn| {
            let (guesses, labels) = both(drawn);
            metrics::macro_f1(&guesses, &labels, names.len())
        });
        if names.len() == 2 {
            evaluation.score("f1", |drawn| {
                let (guesses, labels) = both(drawn);
                metrics::f1_of_class(&guesses, &labels, 1)
            });
            evaluation.score("matthews", |drawn| {
                let (guesses, labels) = both(drawn);
                metrics::matthews(&guesses, &labels, 2)
            });
        }
        if entails.is_none() {
            evaluation.score("calibration_error", |drawn| {
                let confidences: Vec<f64> =
                    drawn.iter().map(|&i| f64::from(confidences[i])).collect();
                let right: Vec<bool> = drawn.iter().map(|&i| guesses[i] == labels[i]).collect();
                metrics::calibration_error(&confidences, &right, BINS)
            });
        }
        if let Some(oos) = label_id(&names, OUT_OF_SCOPE).filter(|_| clinc) {
            let share = |drawn: &[usize], of: &dyn Fn(usize) -> bool| {
                let chosen: Vec<usize> = drawn.iter().copied().filter(|&i| of(i)).collect();
                metrics::accuracy(&pick(&chosen, &guesses), &pick(&chosen, &labels))
            };
            if labels.iter().any(|&label| label != oos) {
                evaluation.score("in_scope_accuracy", |drawn| {
                    share(drawn, &|i| labels[i] != oos)
                });
            }
            if labels.contains(&oos) {
                evaluation.score("oos_recall", |drawn| share(drawn, &|i| labels[i] == oos));
            }
        }
        Ok(())
    }

    fn tell_classes(
        &self,
        examples: &[TextExample],
        names: &[String],
        guesses: &[usize],
        labels: &[usize],
        confidences: &[f32],
        evaluation: &mut Evaluation,
    ) {
        evaluation.confusion = Some(Confusion {
            counts: metrics::confusion(guesses, labels, names.len()),
            labels: names.to_vec(),
        });
        for (i, example) in examples.iter().enumerate() {
            let (guess, confidence) = (names[guesses[i]].clone(), Some(confidences[i]));
            let place = format!("line {}", example.line);
            if guesses[i] != labels[i] {
                evaluation.mistakes.push(Mistake {
                    place,
                    text: both_texts(&example.text, example.text_pair.as_deref()),
                    guess: guess.clone(),
                    right: names[labels[i]].clone(),
                    confidence,
                });
            }
            // Queries of CLINC150 have no lines of their own in its official file.
            let id = match self.format {
                Some(Format::Clinc150) => i + 1,
                _ => example.line,
            };
            evaluation.predictions.push(Prediction {
                id: id.to_string(),
                answer: guess,
                confidence,
            });
        }
    }

    fn any_classes(
        &self,
        examples: &[TextExample],
        evaluation: &mut Evaluation,
        progress: &mut Progress<'_>,
    ) -> Result<()> {
        let task = self.classifier()?;
        let known = task.labels();
        let row = |labels: &[String], line: usize| -> Result<Vec<bool>> {
            let mut row = vec![false; known.len()];
            for label in labels {
                let id = label_id(known, label);
                row[id.ok_or_else(|| self.unknown(line, label, known))?] = true;
            }
            Ok(row)
        };
        let labels = examples
            .iter()
            .map(|example| row(&example.labels, example.line))
            .collect::<Result<Vec<_>>>()?;
        let mut guesses = Vec::with_capacity(examples.len());
        // Of each text, the probability of each label.
        let mut probabilities: Vec<Vec<f64>> = Vec::with_capacity(examples.len());
        for chunk in examples.chunks(EXAMPLES_AT_ONCE) {
            for (said, example) in task.classify(&inputs(chunk))?.into_iter().zip(chunk) {
                let assigned = said.assigned.unwrap_or_default();
                let mut of_text = vec![0.0; known.len()];
                for label in &said.labels {
                    if let Some(id) = known.iter().position(|name| *name == label.label) {
                        of_text[id] = f64::from(label.probability);
                    }
                }
                probabilities.push(of_text);
                let guess = row(&assigned, example.line)?;
                if guess != labels[guesses.len()] {
                    evaluation.mistakes.push(Mistake {
                        place: format!("line {}", example.line),
                        text: both_texts(&example.text, example.text_pair.as_deref()),
                        guess: assigned.join(" | "),
                        right: example.labels.join(" | "),
                        confidence: said.confidence,
                    });
                }
                guesses.push(guess);
                evaluation.predictions.push(Prediction {
                    id: example.line.to_string(),
                    answer: assigned.join("|"),
                    confidence: said.confidence,
                });
            }
            progress(guesses.len(), examples.len());
        }
        let pick = |drawn: &[usize], of: &[Vec<bool>]| -> Vec<Vec<bool>> {
            drawn.iter().map(|&i| of[i].clone()).collect()
        };
        evaluation.score("micro_f1", |drawn| {
            metrics::micro_f1(&pick(drawn, &guesses), &pick(drawn, &labels))
        });
        evaluation.score("accuracy", |drawn| {
            metrics::subset_accuracy(&pick(drawn, &guesses), &pick(drawn, &labels))
        });
        evaluation.score("calibration_error", |drawn| {
            let confidences: Vec<f64> = drawn
                .iter()
                .flat_map(|&i| &probabilities[i])
                .copied()
                .collect();
            let right: Vec<bool> = drawn.iter().flat_map(|&i| &labels[i]).copied().collect();
            metrics::calibration_error(&confidences, &right, BINS)
        });
        Ok(())
    }

    /// Numbers by a regressor; of pairs, without one, by the cosine of their vectors.
    fn scores(
        &self,
        examples: &[ScoreExample],
        evaluation: &mut Evaluation,
        progress: &mut Progress<'_>,
    ) -> Result<()> {
        let (engine, tokenizer, settings) = self.parts();
        let classifier = self.classifier().ok();
        let regressor = classifier.filter(|_| {
            let config = engine.config();
            config.problem() == albert_tasks::ProblemType::Regression
        });
        if regressor.is_none() && examples.iter().any(|e| e.text_pair.is_none()) {
            return Err(Error::Kind {
                path: self.path.to_owned(),
                kind: "numbers for single texts",
                needed: "a model that `albert finetune regress` made is needed".to_owned(),
            });
        }
        let embedder = Embedder::new(engine, tokenizer).with_settings(settings);
        let mut guesses: Vec<f64> = Vec::with_capacity(examples.len());
        for chunk in examples.chunks(EXAMPLES_AT_ONCE) {
            match &regressor {
                Some(task) => {
                    let inputs: Vec<TextInput<'_>> = chunk
                        .iter()
                        .map(|example| TextInput {
                            text: &example.text,
                            pair: example.text_pair.as_deref(),
                        })
                        .collect();
                    let said = task.classify(&inputs)?.into_iter();
                    guesses.extend(said.map(|said| f64::from(said.score.unwrap_or(0.0))));
                }
                None => {
                    let texts: Vec<&str> = chunk
                        .iter()
                        .flat_map(|e| [e.text.as_str(), e.text_pair.as_deref().unwrap_or("")])
                        .collect();
                    let vectors = embedder.embed(&texts)?;
                    guesses.extend(
                        vectors
                            .chunks(2)
                            .map(|pair| f64::from(cosine(&pair[0].vector, &pair[1].vector))),
                    );
                }
            }
            progress(guesses.len(), examples.len());
        }
        for (example, guess) in examples.iter().zip(&guesses) {
            evaluation.predictions.push(Prediction {
                id: example.line.to_string(),
                answer: format!("{guess:.4}"),
                confidence: None,
            });
        }
        if regressor.is_some() {
            // The furthest from what is right come first.
            let mut order: Vec<usize> = (0..examples.len()).collect();
            let error = |i: usize| (guesses[i] - f64::from(examples[i].score)).abs();
            order.sort_by(|&a, &b| error(b).total_cmp(&error(a)));
            evaluation
                .mistakes
                .extend(order.into_iter().take(WORST).map(|i| {
                    let example = &examples[i];
                    Mistake {
                        place: format!("line {}", example.line),
                        text: both_texts(&example.text, example.text_pair.as_deref()),
                        guess: format!("{:.4}", guesses[i]),
                        right: example.score.to_string(),
                        confidence: None,
                    }
                }));
        }
        let wanted: Vec<f64> = examples.iter().map(|e| f64::from(e.score)).collect();
        let pick = |drawn: &[usize], of: &[f64]| drawn.iter().map(|&i| of[i]).collect::<Vec<_>>();
        // Constant numbers correlate with nothing.
        evaluation.score("pearson", |drawn| {
            metrics::pearson(&pick(drawn, &guesses), &pick(drawn, &wanted)).unwrap_or(0.0)
        });
        evaluation.score("spearman", |drawn| {
            metrics::spearman(&pick(drawn, &guesses), &pick(drawn, &wanted)).unwrap_or(0.0)
        });
        Ok(())
    }

    fn tags(
        &self,
        examples: &[TagExample],
        evaluation: &mut Evaluation,
        progress: &mut Progress<'_>,
    ) -> Result<()> {
        let (engine, tokenizer, settings) = self.parts();
        self.check_tags(examples, &engine.config().id2label, evaluation)?;
        let task = Tagger::new(engine, tokenizer)?.with_settings(settings);
        let mut guesses: Vec<Vec<String>> = Vec::with_capacity(examples.len());
        let mut confidences: Vec<Vec<f32>> = Vec::with_capacity(examples.len());
        for chunk in examples.chunks(EXAMPLES_AT_ONCE) {
            let words: Vec<Vec<String>> = chunk.iter().map(|e| e.words.clone()).collect();
            for tags in task.tag_words(&words)? {
                let (tags, sure) = tags.into_iter().unzip();
                guesses.push(tags);
                confidences.push(sure);
            }
            progress(guesses.len(), examples.len());
        }
        let labels: Vec<Vec<String>> = examples.iter().map(|e| e.tags.clone()).collect();
        for (example, guess) in examples.iter().zip(&guesses) {
            if *guess != example.tags {
                evaluation.mistakes.push(Mistake {
                    place: format!("line {}", example.line),
                    text: example.words.join(" "),
                    guess: guess.join(" "),
                    right: example.tags.join(" "),
                    confidence: None,
                });
            }
            evaluation.predictions.push(Prediction {
                id: example.line.to_string(),
                answer: guess.join(" "),
                confidence: None,
            });
        }
        let pick = |drawn: &[usize], of: &[Vec<String>]| -> Vec<Vec<String>> {
            drawn.iter().map(|&i| of[i].clone()).collect()
        };
        let scores =
            |drawn: &[usize]| metrics::span_scores(&pick(drawn, &guesses), &pick(drawn, &labels));
        evaluation.score("f1", |drawn| scores(drawn).f1);
        evaluation.score("precision", |drawn| scores(drawn).precision);
        evaluation.score("recall", |drawn| scores(drawn).recall);
        evaluation.score("accuracy", |drawn| {
            metrics::tag_accuracy(&pick(drawn, &guesses), &pick(drawn, &labels))
        });
        evaluation.score("calibration_error", |drawn| {
            let words = drawn.iter().flat_map(|&i| {
                let right = guesses[i].iter().zip(&labels[i]);
                let right = right.map(|(guess, label)| guess == label);
                confidences[i]
                    .iter()
                    .map(|&sure| f64::from(sure))
                    .zip(right)
            });
            let (confidences, right): (Vec<f64>, Vec<bool>) = words.unzip();
            metrics::calibration_error(&confidences, &right, BINS)
        });
        Ok(())
    }

    /// Tags that the model does not have are told, and cannot be found; where it has none of them,
    /// there is nothing to score.
    fn check_tags(
        &self,
        examples: &[TagExample],
        known: &[String],
        evaluation: &mut Evaluation,
    ) -> Result<()> {
        let tags = || {
            examples
                .iter()
                .flat_map(|e| e.tags.iter().map(|tag| (e.line, tag)))
        };
        let unknown = || tags().filter(|(_, tag)| !known.contains(tag));
        let Some((line, tag)) = unknown().next() else {
            return Ok(());
        };
        if tags().all(|(_, tag)| tag == OUTSIDE || !known.contains(tag)) {
            return Err(self.unknown(line, tag, known));
        }
        evaluation.notes.push(format!(
            "{}: {} tags are none of the model's and count as missed; the first is `{tag}` in line {line}",
            self.path.display(),
            unknown().count()
        ));
        Ok(())
    }

    fn choices(
        &self,
        examples: &[ChoiceExample],
        evaluation: &mut Evaluation,
        progress: &mut Progress<'_>,
    ) -> Result<()> {
        let (engine, tokenizer, settings) = self.parts();
        let task = Chooser::new(engine, tokenizer)?.with_settings(settings);
        let mut right = Vec::with_capacity(examples.len());
        let mut confidences = Vec::with_capacity(examples.len());
        for (i, example) in examples.iter().enumerate() {
            let choices: Vec<&str> = example.choices.iter().map(String::as_str).collect();
            let chosen = task.choose(&example.context, &example.question, &choices);
            let chosen = chosen.map_err(|source| Error::Example {
                path: self.path.to_owned(),
                place: format!("line {}", example.line),
                source: Box::new(source),
            })?;
            right.push(chosen.choice == example.answer);
            confidences.push(f64::from(chosen.confidence));
            // An article of RACE is a line, and has several questions.
            let number = match self.format {
                Some(Format::Race) => i + 1,
                _ => example.line,
            };
            if chosen.choice != example.answer {
                evaluation.mistakes.push(Mistake {
                    place: format!("line {}", example.line),
                    text: example.question.clone(),
                    guess: chosen.text.clone(),
                    right: example.choices[example.answer].clone(),
                    confidence: Some(chosen.confidence),
                });
            }
            evaluation.predictions.push(Prediction {
                id: number.to_string(),
                answer: chosen.choice.to_string(),
                confidence: Some(chosen.confidence),
            });
            if (i + 1).is_multiple_of(EXAMPLES_AT_ONCE / 8) || i + 1 == examples.len() {
                progress(i + 1, examples.len());
            }
        }
        evaluation.score("accuracy", |drawn| {
            let count = drawn.iter().filter(|&&i| right[i]).count();
            count as f64 / drawn.len().max(1) as f64
        });
        evaluation.score("calibration_error", |drawn| {
            let confidences: Vec<f64> = drawn.iter().map(|&i| confidences[i]).collect();
            let right: Vec<bool> = drawn.iter().map(|&i| right[i]).collect();
            metrics::calibration_error(&confidences, &right, BINS)
        });
        Ok(())
    }
}

/// Whether a data set's classes are called 0 and 1.
fn of_two_numbers(format: Format) -> bool {
    let formats = [
        Format::Sst2,
        Format::Cola,
        Format::Mrpc,
        Format::Qqp,
        Format::Wnli,
    ];
    formats.contains(&format)
}

fn inputs(examples: &[TextExample]) -> Vec<TextInput<'_>> {
    examples
        .iter()
        .map(|example| TextInput {
            text: &example.text,
            pair: example.text_pair.as_deref(),
        })
        .collect()
}

fn both_texts(text: &str, pair: Option<&str>) -> String {
    match pair {
        Some(pair) => format!("{text} | {pair}"),
        None => text.to_owned(),
    }
}
