//! Classes that nobody trained for: does the text entail that it is about one (Yin et al. 2019)?

use std::collections::HashSet;

use serde::Serialize;

use crate::classifier::likelier;
use crate::rows::softmax;
use crate::{Asked, Classifier, Error, LabelScore, LongText, Result, TextInput, label_id};

/// What a text is said to be, with `{}` for the class.
pub const HYPOTHESIS: &str = "This text is about {}.";

/// Classifies by classes that are named when it is asked.
#[derive(Clone)]
pub struct ZeroShot {
    classifier: Classifier,
    entailment: usize,
    contradiction: usize,
    hypothesis: String,
}

/// How well each class fits a text.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ZeroShotAnswer {
    /// The likeliest class.
    pub label: String,
    /// Its probability.
    pub confidence: f32,
    /// All classes, likeliest first.
    pub labels: Vec<LabelScore>,
    /// Pieces left out because the text is longer than the model reads beside the longest of the classes.
    pub truncated: usize,
}

impl ZeroShot {
    /// A task over a classifier of natural-language inference.
    ///
    /// # Errors
    /// [`Error::NoLabel`]: the classifier has no label `entailment` or `contradiction`.
    pub fn new(classifier: Classifier) -> Result<Self> {
        let find = |name: &'static str| {
            let named = |label: &&String| label.to_lowercase() == name;
            let known = classifier.labels();
            let place = known.iter().find(named).and_then(|l| label_id(known, l));
            place.ok_or_else(|| Error::NoLabel {
                name,
                known: known.to_vec(),
            })
        };
        Ok(Self {
            entailment: find("entailment")?,
            contradiction: find("contradiction")?,
            hypothesis: HYPOTHESIS.to_owned(),
            classifier,
        })
    }

    /// With another sentence about the class, which stands where `{}` does.
    ///
    /// # Errors
    /// [`Error::Hypothesis`]: there is no `{}` in it.
    pub fn with_hypothesis(mut self, hypothesis: &str) -> Result<Self> {
        if !hypothesis.contains("{}") {
            return Err(Error::Hypothesis(hypothesis.to_owned()));
        }
        hypothesis.clone_into(&mut self.hypothesis);
        Ok(self)
    }

    /// How well each class fits: one of them, or each by itself where `multi_label`.
    ///
    /// # Errors
    /// As [`check_classes`] and [`Classifier::logits`].
    pub fn classify(
        &self,
        text: &str,
        classes: &[&str],
        multi_label: bool,
    ) -> Result<ZeroShotAnswer> {
        let asked = self.ask(text, classes, multi_label, None)?;
        asked.run(self.classifier.engine())
    }

    /// The rows of a text for others to run, one a class, and the way from their numbers to
    /// [`ZeroShot::classify`]'s answer.
    ///
    /// # Errors
    /// As [`check_classes`] and [`Classifier::ask`].
    pub fn ask(
        &self,
        text: &str,
        classes: &[&str],
        multi_label: bool,
        long: Option<LongText>,
    ) -> Result<Asked<ZeroShotAnswer>> {
        check_classes(classes)?;
        let asked = classes.iter().map(|class| {
            let said = self.hypothesis.replace("{}", class);
            let pair = Some(said.as_str());
            self.classifier.ask_logits(TextInput { text, pair }, long)
        });
        let asked = Asked::all(asked.collect::<Result<_>>()?).ok_or(Error::NoChoice)?;
        let (entailment, contradiction) = (self.entailment, self.contradiction);
        let names: Vec<String> = classes.iter().map(|class| (*class).to_owned()).collect();
        let temperature = self.classifier.temperature();
        Ok(asked.map(move |logits| {
            let entails = logits.iter().map(|(logits, _)| logits[entailment]);
            let probabilities = match multi_label {
                false => softmax(&entails.collect::<Vec<_>>(), temperature),
                true => logits
                    .iter()
                    .map(|(logits, _)| {
                        let sides = [logits[contradiction], logits[entailment]];
                        softmax(&sides, temperature)[1]
                    })
                    .collect(),
            };
            let truncated = logits.iter().map(|(_, truncated)| *truncated).max();
            ranked(names, probabilities, truncated.unwrap_or(0))
        }))
    }
}

/// Whether a text can be asked which of the classes it is about.
///
/// # Errors
/// [`Error::NoChoice`]: there are none. [`Error::Class`]: one is blank, or there twice.
pub fn check_classes(classes: &[&str]) -> Result<()> {
    if classes.is_empty() {
        return Err(Error::NoChoice);
    }
    let mut seen = HashSet::with_capacity(classes.len());
    for (i, class) in classes.iter().enumerate() {
        let problem = match class.trim() {
            "" => "is blank".to_owned(),
            _ if !seen.insert(class) => format!("is there twice: `{class}`"),
            _ => continue,
        };
        return Err(Error::Class { class: i, problem });
    }
    Ok(())
}

/// Classes with their probabilities, of which there is at least one, likeliest first.
fn ranked(names: Vec<String>, probabilities: Vec<f32>, truncated: usize) -> ZeroShotAnswer {
    let named = names.into_iter().zip(probabilities);
    let mut labels: Vec<LabelScore> = named
        .map(|(label, probability)| LabelScore { label, probability })
        .collect();
    labels.sort_by(likelier);
    ZeroShotAnswer {
        label: labels[0].label.clone(),
        confidence: labels[0].probability,
        labels,
        truncated,
    }
}
