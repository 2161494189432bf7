//! `config.json`, read and written.
//!
//! A field that changes the result is honoured or refused by name; a field
//! that only keeps books is passed over; a field nobody knows is noted.

use std::path::Path;
use std::str::FromStr;

use serde_json::{Map, Value, json};

use crate::config::{Activation, AlbertConfig, Architecture, LayerModule};
use crate::error::{Error, Result};

/// Fields of transformers and of Google's code that do not change what the
/// model computes: where a file came from, what to return, how to generate.
const BOOKKEEPING: &[&str] = &[
    "_attn_implementation",
    "_attn_implementation_autoset",
    "_commit_hash",
    "_name_or_path",
    "_num_labels",
    "attn_implementation",
    "bad_words_ids",
    "begin_suppress_tokens",
    "chunk_size_feed_forward",
    "cross_attention_hidden_size",
    "decoder_start_token_id",
    "diversity_penalty",
    "do_sample",
    "dtype",
    "early_stopping",
    "encoder_no_repeat_ngram_size",
    "exponential_decay_length_penalty",
    "finetuning_task",
    "forced_bos_token_id",
    "forced_eos_token_id",
    "gradient_checkpointing",
    "language",
    "length_penalty",
    "max_length",
    "min_length",
    "name_or_path",
    "no_repeat_ngram_size",
    "num_beam_groups",
    "num_beams",
    "num_return_sequences",
    "output_attentions",
    "output_hidden_states",
    "output_past",
    "output_scores",
    "prefix",
    "remove_invalid_values",
    "repetition_penalty",
    "return_dict",
    "return_dict_in_generate",
    "sep_token_id",
    "suppress_tokens",
    "task_specific_params",
    "temperature",
    "tf_legacy_loss",
    "tokenizer_class",
    "top_k",
    "top_p",
    "torch_dtype",
    "torchscript",
    "transformers_version",
    "typical_p",
    "use_bfloat16",
    "use_cache",
    "use_return_dict",
];

/// A configuration and what its file said beyond it.
pub(crate) struct Parsed {
    pub(crate) config: AlbertConfig,
    /// Whether the file names its architecture; else the tensors tell it.
    pub(crate) names_architecture: bool,
    /// transformers' `tie_word_embeddings`.
    pub(crate) tied: bool,
    /// What a user should hear about the file, one sentence each.
    pub(crate) notes: Vec<String>,
}

impl Parsed {
    /// Refuses what the architecture cannot honour. It is known only after the
    /// tensors were seen where the file does not name it.
    pub(crate) fn check(&self, path: &Path) -> Result<()> {
        if !self.tied && self.config.architecture.has_masked_lm() {
            return Err(Error::field(
                path,
                "tie_word_embeddings",
                "is false; a masked-LM decoder apart from the word embeddings is not supported",
            ));
        }
        self.config.check(path)
    }
}

impl AlbertConfig {
    /// Reads the text of a `config.json` as transformers 4 and 5 and Google's
    /// code write it. `path` is for messages only.
    ///
    /// A file that names no architecture is taken for `AlbertModel`;
    /// [`Checkpoint::open`](crate::Checkpoint::open) looks at the tensors instead.
    ///
    /// # Errors
    /// [`Error::Json`] with the line for text that is not JSON, and
    /// [`Error::Field`] for a field of the wrong type, out of range, or with a
    /// value that this program cannot honour.
    pub fn from_json(path: &Path, text: &str) -> Result<Self> {
        let parsed = parse(path, text)?;
        parsed.check(path)?;
        Ok(parsed.config)
    }

    /// The text of a `config.json` that transformers reads back to the same
    /// configuration.
    pub fn to_json(&self) -> String {
        self.to_json_with(None)
    }

    /// [`to_json`](Self::to_json), with the number format of the weights.
    pub(crate) fn to_json_with(&self, dtype: Option<&str>) -> String {
        let mut map = Map::new();
        let mut put = |name: &str, value: Value| map.insert(name.to_owned(), value);
        put("architectures", json!([self.architecture.name()]));
        put(
            "attention_probs_dropout_prob",
            number(self.attention_probs_dropout_prob),
        );
        put("bos_token_id", json!(self.bos_token_id));
        put(
            "classifier_dropout_prob",
            number(self.classifier_dropout_prob),
        );
        if self.early_exits {
            put("early_exits", json!(true));
        }
        put("embedding_size", json!(self.embedding_size));
        put("eos_token_id", json!(self.eos_token_id));
        put("hidden_act", json!(self.hidden_act.name()));
        put("hidden_dropout_prob", number(self.hidden_dropout_prob));
        put("hidden_size", json!(self.hidden_size));
        if self.id2label != Self::default_labels(2) {
            let names = self.id2label.iter().enumerate();
            put(
                "id2label",
                names
                    .clone()
                    .map(|(i, name)| (i.to_string(), json!(name)))
                    .collect(),
            );
            put(
                "label2id",
                names.map(|(i, name)| (name.clone(), json!(i))).collect(),
            );
        }
        put("initializer_range", number(self.initializer_range));
        put("inner_group_num", json!(self.inner_group_num));
        if !self.int8_skip_modules.is_empty() {
            let names = self.int8_skip_modules.iter().map(|module| module.name());
            put("int8_skip_modules", names.collect());
        }
        put("intermediate_size", json!(self.intermediate_size));
        put("layer_norm_eps", number(self.layer_norm_eps));
        put(
            "max_position_embeddings",
            json!(self.max_position_embeddings),
        );
        put("model_type", json!("albert"));
        put("num_attention_heads", json!(self.num_attention_heads));
        put("num_hidden_groups", json!(self.num_hidden_groups));
        put("num_hidden_layers", json!(self.num_hidden_layers));
        put("pad_token_id", json!(self.pad_token_id));
        if let Some(problem) = self.problem_type {
            put("problem_type", json!(problem.name()));
        }
        if let Some(dtype) = dtype {
            // The name that every version of transformers reads.
            put("torch_dtype", json!(dtype));
        }
        put("type_vocab_size", json!(self.type_vocab_size));
        put("vocab_size", json!(self.vocab_size));
        format!("{:#}\n", Value::Object(map))
    }
}

/// The shortest decimal that reads back as `x`: 1e-12, not 9.999999960041972e-13.
fn number(x: f32) -> Value {
    json!(
        x.to_string()
            .parse::<f64>()
            .unwrap_or_else(|_| f64::from(x))
    )
}

/// Reads a configuration without the checks of [`Parsed::check`].
pub(crate) fn parse(path: &Path, text: &str) -> Result<Parsed> {
    let value: Value = serde_json::from_str(text.strip_prefix('\u{feff}').unwrap_or(text))
        .map_err(|e| Error::json(path, &e))?;
    let Value::Object(map) = value else {
        return Err(Error::Json {
            path: path.to_path_buf(),
            line: 1,
            column: 1,
            problem: format!(
                "expected an object with ALBERT's fields, found {}",
                kind(&value)
            ),
        });
    };
    let mut fields = Fields {
        path,
        map,
        notes: Vec::new(),
    };

    let named = fields.architecture()?;
    let google = fields.model_type(named.is_some())?;
    fields.refuse_other_models()?;
    let hidden_act = fields.name::<Activation>("hidden_act")?;
    if google && hidden_act == Some(Activation::Gelu) {
        fields.notes.push(
            "`hidden_act` is \"gelu\" in a file without `model_type`: it is read as transformers \
             reads it, the exact form; Google's own code means \"gelu_new\" by it"
                .to_owned(),
        );
    }
    let (id2label, problem_type) = (fields.labels()?, fields.name("problem_type")?);
    let tied = fields.flag("tie_word_embeddings", true)?;
    let config = AlbertConfig {
        architecture: named.unwrap_or(Architecture::Base),
        vocab_size: fields.size("vocab_size", 30_000)?,
        embedding_size: fields.size("embedding_size", 128)?,
        hidden_size: fields.size("hidden_size", 4096)?,
        num_hidden_layers: fields.size("num_hidden_layers", 12)?,
        num_hidden_groups: fields.size("num_hidden_groups", 1)?,
        num_attention_heads: fields.size("num_attention_heads", 64)?,
        intermediate_size: fields.size("intermediate_size", 16_384)?,
        inner_group_num: fields.size("inner_group_num", 1)?,
        hidden_act: match hidden_act {
            Some(activation) => activation,
            None => fields.default("hidden_act", Activation::GeluNew),
        },
        hidden_dropout_prob: fields.real("hidden_dropout_prob", 0.0)?,
        attention_probs_dropout_prob: fields.real("attention_probs_dropout_prob", 0.0)?,
        classifier_dropout_prob: fields.real("classifier_dropout_prob", 0.1)?,
        max_position_embeddings: fields.size("max_position_embeddings", 512)?,
        type_vocab_size: fields.size("type_vocab_size", 2)?,
        initializer_range: fields.real("initializer_range", 0.02)?,
        layer_norm_eps: fields.real("layer_norm_eps", 1e-12)?,
        pad_token_id: fields.token("pad_token_id", 0)?,
        bos_token_id: fields.token("bos_token_id", 2)?,
        eos_token_id: fields.token("eos_token_id", 3)?,
        id2label,
        problem_type,
        early_exits: match fields.take("early_exits") {
            None => false,
            Some(Value::Bool(exits)) => exits,
            Some(other) => {
                let problem = format!("is {other}, neither true nor false");
                return Err(fields.error("early_exits", problem));
            }
        },
        int8_skip_modules: fields.skipped()?,
    };
    let notes = fields.finish();
    Ok(Parsed {
        config,
        names_architecture: named.is_some(),
        tied,
        notes,
    })
}

/// The fields not yet read. Each method takes the ones it is about; what is
/// left at the end nobody has honoured.
pub(crate) struct Fields<'a> {
    path: &'a Path,
    map: Map<String, Value>,
    notes: Vec<String>,
}

impl Fields<'_> {
    pub(crate) fn take(&mut self, name: &str) -> Option<Value> {
        self.map.shift_remove(name)
    }

    pub(crate) fn error(&self, field: &str, problem: impl Into<String>) -> Error {
        Error::field(self.path, field, problem)
    }

    /// A size that the file leaves out, noted because it is rarely meant.
    fn default<T: std::fmt::Display>(&mut self, field: &str, value: T) -> T {
        self.notes.push(format!(
            "`{field}` is not given; transformers' default {value} holds"
        ));
        value
    }

    fn size(&mut self, field: &str, default: usize) -> Result<usize> {
        match self.take(field) {
            None => Ok(self.default(field, default)),
            Some(value) => self.whole(field, &value),
        }
    }

    pub(crate) fn whole(&self, field: &str, value: &Value) -> Result<usize> {
        value
            .as_u64()
            .and_then(|n| usize::try_from(n).ok())
            .ok_or_else(|| {
                self.error(
                    field,
                    format!("must be a whole number of 0 or more, not {}", shown(value)),
                )
            })
    }

    fn token(&mut self, field: &str, default: usize) -> Result<usize> {
        match self.take(field) {
            None => Ok(default),
            Some(Value::Null) => Ok(self.default(field, default)),
            Some(value) => self.whole(field, &value),
        }
    }

    fn real(&mut self, field: &str, default: f32) -> Result<f32> {
        match self.take(field) {
            None => Ok(default),
            Some(value) => match value.as_f64() {
                Some(x) => Ok(x as f32),
                None => Err(self.error(field, format!("must be a number, not {}", shown(&value)))),
            },
        }
    }

    fn flag(&mut self, field: &str, default: bool) -> Result<bool> {
        match self.take(field) {
            None | Some(Value::Null) => Ok(default),
            Some(Value::Bool(flag)) => Ok(flag),
            Some(value) => Err(self.error(
                field,
                format!("must be true or false, not {}", shown(&value)),
            )),
        }
    }

    /// A field that holds one of a set of names; null and absent are `None`.
    fn name<T: FromStr<Err = String>>(&mut self, field: &str) -> Result<Option<T>> {
        match self.take(field) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(name)) => name
                .parse()
                .map(Some)
                .map_err(|problem: String| self.error(field, problem)),
            Some(value) => Err(self.error(field, format!("must be a name, not {}", shown(&value)))),
        }
    }

    /// A field that holds a list of such names; null and absent are empty.
    fn list(&mut self, field: &str) -> Result<Vec<Value>> {
        match self.take(field) {
            None | Some(Value::Null) => Ok(Vec::new()),
            Some(Value::Array(list)) => Ok(list),
            Some(value) => {
                let problem = format!("must be a list of names, not {}", shown(&value));
                Err(self.error(field, problem))
            }
        }
    }

    /// One of such a list.
    fn listed<T: FromStr<Err = String>>(&self, field: &str, value: &Value) -> Result<T> {
        match value {
            Value::String(name) => name.parse().map_err(|problem| self.error(field, problem)),
            _ => {
                let problem = format!("must be a list of names, not of {}", kind(value));
                Err(self.error(field, problem))
            }
        }
    }

    fn skipped(&mut self) -> Result<Vec<LayerModule>> {
        let field = "int8_skip_modules";
        let names = self.list(field)?;
        names.iter().map(|name| self.listed(field, name)).collect()
    }

    fn architecture(&mut self) -> Result<Option<Architecture>> {
        let field = "architectures";
        match self.list(field)?.as_slice() {
            [] => Ok(None),
            [name] => self.listed(field, name).map(Some),
            several => Err(self.error(
                field,
                format!(
                    "names {} classes; keep the one whose weights these are",
                    several.len()
                ),
            )),
        }
    }

    /// Checks the model type; true for a file that has none, as Google's have.
    fn model_type(&mut self, albert_class: bool) -> Result<bool> {
        let field = "model_type";
        match self.take(field) {
            Some(Value::String(name)) if name == "albert" => Ok(false),
            Some(value @ Value::String(_)) => {
                Err(self.error(field, format!("is {}, not \"albert\"", shown(&value))))
            }
            None | Some(Value::Null) if albert_class => Ok(false),
            // BERT and its kin have no width for the embeddings alone.
            None | Some(Value::Null) if self.map.contains_key("embedding_size") => Ok(true),
            None | Some(Value::Null) => Err(self.error(
                field,
                "is missing, and so is `embedding_size`: this does not look like ALBERT",
            )),
            Some(value) => {
                Err(self.error(field, format!("must be \"albert\", not {}", shown(&value))))
            }
        }
    }

    /// Fields that would make another model of this one, at any value but one.
    fn refuse_other_models(&mut self) -> Result<()> {
        for (field, only) in [
            ("net_structure_type", json!(0)),
            ("gap_size", json!(0)),
            ("num_memory_blocks", json!(0)),
            ("down_scale_factor", json!(1)),
            ("ln_type", json!("postln")),
            ("position_embedding_type", json!("absolute")),
            ("is_decoder", json!(false)),
            ("is_encoder_decoder", json!(false)),
            ("add_cross_attention", json!(false)),
            ("tie_encoder_decoder", json!(false)),
            ("pruned_heads", json!({})),
            ("quantization_config", Value::Null),
        ] {
            match self.take(field) {
                Some(value) if !same(&value, &only) && !value.is_null() => {
                    let problem = if only.is_null() {
                        "is given; quantised weights are not supported".to_owned()
                    } else {
                        format!("is {}; only {only} is supported", shown(&value))
                    };
                    return Err(self.error(field, problem));
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// The notes, with one on every field that is left.
    fn finish(mut self) -> Vec<String> {
        let unknown: Vec<String> = self
            .map
            .keys()
            .filter(|key| BOOKKEEPING.binary_search(&key.as_str()).is_err())
            .map(|key| format!("`{key}`"))
            .collect();
        if !unknown.is_empty() {
            self.notes.push(format!(
                "unknown field{} in config.json, without effect here: {}",
                if unknown.len() == 1 { "" } else { "s" },
                unknown.join(", ")
            ));
        }
        self.notes
    }
}

/// Equal values; numbers by value, so that 0 and 0.0 agree.
fn same(a: &Value, b: &Value) -> bool {
    match (a.as_f64(), b.as_f64()) {
        (Some(a), Some(b)) => a == b,
        _ => a == b,
    }
}

pub(crate) fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a truth value",
        Value::Number(_) => "a number",
        Value::String(_) => "text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

/// A value as a message shows it: itself when short, else its kind.
pub(crate) fn shown(value: &Value) -> String {
    let text = value.to_string();
    if text.len() <= 40 {
        text
    } else {
        kind(value).to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bookkeeping_is_sorted_for_the_search() {
        assert!(BOOKKEEPING.is_sorted());
    }

    #[test]
    fn numbers_are_written_as_short_as_they_can_be() {
        assert_eq!(number(1e-12).to_string(), "1e-12");
        assert_eq!(number(0.1).to_string(), "0.1");
        assert_eq!(number(0.0).to_string(), "0.0");
    }
}
