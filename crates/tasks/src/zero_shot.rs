//! Classes that nobody trained for: does the text entail that it is about one (Yin et al. 2019)?

use serde::Serialize;

use crate::classifier::likelier;
use crate::rows::softmax;
use crate::{Classifier, Error, LabelScore, Result, TextInput, label_id};

/// What a text is said to be, with `{}` for the class.
pub const HYPOTHESIS: &str = "This text is about {}.";

/// Classifies by classes that are named when it is asked.
pub struct ZeroShot {
    classifier: Classifier,
    entailment: usize,
    contradiction: usize,
    hypothesis: String,
}

/// How well each class fits a text.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ZeroShotAnswer {
    /// The likeliest class.
    pub label: String,
    /// Its probability.
    pub confidence: f32,
    /// All classes, likeliest first.
    pub labels: Vec<LabelScore>,
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
    /// No classes, and as [`Classifier::logits`].
    pub fn classify(
        &self,
        text: &str,
        classes: &[&str],
        multi_label: bool,
    ) -> Result<ZeroShotAnswer> {
        let said: Vec<String> = classes
            .iter()
            .map(|class| self.hypothesis.replace("{}", class))
            .collect();
        let inputs: Vec<TextInput<'_>> = said
            .iter()
            .map(|said| TextInput {
                text,
                pair: Some(said),
            })
            .collect();
        let logits = self.classifier.logits(&inputs)?;
        let entails = logits.iter().map(|(logits, _)| logits[self.entailment]);
        let probabilities = match multi_label {
            false => softmax(&entails.collect::<Vec<_>>(), 1.0),
            true => logits
                .iter()
                .map(|(logits, _)| {
                    let sides = [logits[self.contradiction], logits[self.entailment]];
                    softmax(&sides, 1.0)[1]
                })
                .collect(),
        };
        let mut labels: Vec<LabelScore> = classes
            .iter()
            .zip(probabilities)
            .map(|(class, probability)| LabelScore {
                label: (*class).to_owned(),
                probability,
            })
            .collect();
        labels.sort_by(likelier);
        match labels.first().cloned() {
            Some(best) => Ok(ZeroShotAnswer {
                label: best.label,
                confidence: best.probability,
                labels,
            }),
            None => Err(Error::NoChoice),
        }
    }
}
