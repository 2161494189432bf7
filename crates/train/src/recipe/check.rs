//! What a recipe may say, and what may change when a run is resumed.

use super::{PASS_BITS, Recipe};
use crate::error::{Error, Result};
use crate::examples::{SPECIALS, SentenceTask};

/// Fields that may differ when a run is resumed: in runs of steps or epochs they change no number
/// that is trained, but for the guard's, which are free so that a run that it ended can go on.
/// (`tokenizer` and `report.dev_corpus` are held against the run by their content.)
const FREE: [&str; 15] = [
    "tokenizer",
    "start_from",
    "report.dev_corpus",
    "report.dev_examples",
    "report.evaluate_steps",
    "report.report_steps",
    "report.checkpoint_minutes",
    "report.checkpoint_steps",
    "report.dtype",
    "guard.skip",
    "guard.loss_z",
    "guard.gradient_z",
    "guard.window",
    "guard.warmup_steps",
    "guard.most_skips",
];

/// The most words of an n-gram that is masked at once; each word draws from as many lengths.
const MOST_WORDS: usize = 512;

/// The longest row: [`Group`](crate::examples::Group) counts a row's pieces in 16 bits.
const LONGEST: usize = u16::MAX as usize;

/// The most forward passes of a step.
const MOST_PASSES: usize = 1 << PASS_BITS;

impl Recipe {
    /// Checks every value that does not need the tokenizer or the corpus.
    ///
    /// # Errors
    /// [`Error::RecipeField`] naming the field.
    pub fn validate(&self) -> Result<()> {
        let share = |field: &str, value: f64| match (0.0..=1.0).contains(&value) {
            true => Ok(()),
            false => Err(Error::field(
                field,
                format!("must be from 0 to 1, not {value}"),
            )),
        };
        let positive = |field: &str, value: f64| match value > 0.0 && value.is_finite() {
            true => Ok(()),
            false => Err(Error::field(field, format!("must be above 0, not {value}"))),
        };
        share("data.short_share", self.data.short_share)?;
        share("masking.share", self.masking.share)?;
        positive("masking.share", self.masking.share)?;
        share("masking.replaced", self.masking.replaced)?;
        share("masking.random", self.masking.random)?;
        if self.masking.replaced + self.masking.random > 1.0 + 1e-9 {
            return Err(Error::field(
                "masking.random",
                "with `replaced` is more than 1",
            ));
        }
        if !(1..=MOST_WORDS).contains(&self.masking.max_words) {
            let message = format!(
                "must be from 1 to {MOST_WORDS}, not {}",
                self.masking.max_words
            );
            return Err(Error::field("masking.max_words", message));
        }
        self.validate_stages()?;
        positive("optimizer.rate", self.optimizer.rate)?;
        if self.optimizer.rate_for_batch == Some(0) {
            return Err(Error::field("optimizer.rate_for_batch", "must be above 0"));
        }
        positive("optimizer.epsilon", self.optimizer.epsilon)?;
        positive("optimizer.clip", self.optimizer.clip)?;
        share("optimizer.weight_decay", self.optimizer.weight_decay)?;
        for beta in self.optimizer.betas {
            if !(0.0..1.0).contains(&beta) {
                let message = format!("must be from 0 to below 1, not {beta}");
                return Err(Error::field("optimizer.betas", message));
            }
        }
        self.guard.validate()?;
        share("report.dev_share", self.report.dev_share)?;
        positive("report.dev_examples", self.report.dev_examples as f64)?;
        positive("report.evaluate_steps", self.report.evaluate_steps as f64)?;
        positive("report.report_steps", self.report.report_steps as f64)?;
        positive("report.checkpoint_minutes", self.report.checkpoint_minutes)?;
        if self.report.checkpoint_steps == Some(0) {
            return Err(Error::field("report.checkpoint_steps", "must be above 0"));
        }
        let share = self.report.dev_share;
        if self.report.dev_corpus.is_none() && (share == 0.0 || share == 1.0) {
            let message = "must be above 0 and below 1, or `report.dev_corpus` must name a file";
            return Err(Error::field("report.dev_share", message));
        }
        Ok(())
    }

    fn validate_stages(&self) -> Result<()> {
        if self.stage.is_empty() {
            return Err(Error::field("stage", "needs at least one table [[stage]]"));
        }
        let mut units = Vec::new();
        for (i, stage) in self.stage.iter().enumerate() {
            let field = |name: &str| format!("stage[{i}].{name}");
            // [CLS], [SEP], [SEP] and a word for either segment.
            if stage.length < SPECIALS + 2 {
                let message = format!("must be at least {}, not {}", SPECIALS + 2, stage.length);
                return Err(Error::field(field("length"), message));
            }
            if stage.length > LONGEST {
                let message = format!("must be at most {LONGEST}, not {}", stage.length);
                return Err(Error::field(field("length"), message));
            }
            for (name, value) in [("batch", stage.batch), ("accumulation", stage.accumulation)] {
                if value == 0 {
                    return Err(Error::field(field(name), "must be at least 1"));
                }
            }
            if stage.both_orders && self.data.sentence_task == SentenceTask::Next {
                let message = "goes with `data.sentence_task = \"order\"`, not with \"next\"";
                return Err(Error::field(field("both_orders"), message));
            }
            if stage.both_orders && !stage.batch.is_multiple_of(2) {
                let message = format!(
                    "must be even where `both_orders` puts pairs in two rows, not {}",
                    stage.batch
                );
                return Err(Error::field(field("batch"), message));
            }
            if !(stage.order_weight >= 0.0 && stage.order_weight.is_finite()) {
                let message = format!("must be at least 0, not {}", stage.order_weight);
                return Err(Error::field(field("order_weight"), message));
            }
            let most = i32::MAX as usize / stage.length;
            if stage.batch > most {
                let message = format!(
                    "must be at most {most} at this length, not {}: positions of a batch are counted \
                     in 31 bits; `accumulation` makes larger steps",
                    stage.batch
                );
                return Err(Error::field(field("batch"), message));
            }
            if stage.accumulation > MOST_PASSES {
                let message = format!("must be at most {MOST_PASSES}, not {}", stage.accumulation);
                return Err(Error::field(field("accumulation"), message));
            }
            let spans = [
                ("steps", stage.steps.map(|steps| steps as f64)),
                ("minutes", stage.minutes),
                ("epochs", stage.epochs),
            ];
            let given: Vec<(&str, f64)> = spans
                .into_iter()
                .filter_map(|(name, span)| Some((name, span?)))
                .collect();
            let [(unit, span)] = given[..] else {
                let message = "needs exactly one of `steps`, `minutes` and `epochs`";
                return Err(Error::field(format!("stage[{i}]"), message));
            };
            if !(span > 0.0 && span.is_finite()) {
                return Err(Error::field(
                    field(unit),
                    format!("must be above 0, not {span}"),
                ));
            }
            units.push(unit);
        }
        if let Some(i) = units.iter().position(|unit| *unit != units[0]) {
            let message = format!("says {}, but the first stage says {}", units[i], units[0]);
            return Err(Error::field(format!("stage[{i}].{}", units[i]), message));
        }
        Ok(())
    }

    /// Whether a run that began with the recipe `was` can go on with this one.
    ///
    /// # Errors
    /// [`Error::RecipeChanged`] naming the first field that differs and matters.
    pub fn agrees_with(&self, was: &Recipe) -> Result<()> {
        let flat = |recipe: &Recipe| -> Result<Vec<(String, String)>> {
            let mut fields = Vec::new();
            let value = serde_json::to_value(recipe)
                .map_err(|error| Error::field("recipe", format!("cannot be compared: {error}")))?;
            flatten("", &value, &mut fields);
            Ok(fields)
        };
        let (old, new) = (flat(was)?, flat(self)?);
        let get = |fields: &[(String, String)], name: &str| {
            let found = fields.iter().find(|(field, _)| field == name);
            found.map_or("not set".into(), |(_, value)| value.clone())
        };
        for (field, _) in old.iter().chain(&new) {
            let (was, now) = (get(&old, field), get(&new, field));
            if was != now && !FREE.contains(&field.as_str()) {
                return Err(Error::RecipeChanged {
                    field: field.clone(),
                    was,
                    now,
                });
            }
        }
        Ok(())
    }
}

fn flatten(prefix: &str, value: &serde_json::Value, fields: &mut Vec<(String, String)>) {
    match value {
        serde_json::Value::Object(object) => {
            for (key, value) in object {
                let dot = if prefix.is_empty() { "" } else { "." };
                flatten(&format!("{prefix}{dot}{key}"), value, fields);
            }
        }
        serde_json::Value::Array(items) => {
            for (i, value) in items.iter().enumerate() {
                flatten(&format!("{prefix}[{i}]"), value, fields);
            }
        }
        value => fields.push((prefix.into(), value.to_string())),
    }
}
