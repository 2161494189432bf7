//! The names of a classifier's outputs, from the fields of `config.json` that
//! tell them: `id2label`, `label2id` and `num_labels`.

use std::collections::HashSet;

use serde_json::Value;

use crate::config::AlbertConfig;
use crate::error::Result;
use crate::json::{Fields, kind, shown};

/// The most labels; it bounds what one number in a file can make this program
/// allocate.
const MAX_LABELS: usize = 1 << 20;

fn not_contiguous(id: &str, labels: usize) -> String {
    format!(
        "has the id {id}; {labels} labels have the ids 0 to {}",
        labels.saturating_sub(1)
    )
}

impl Fields<'_> {
    /// The names of the labels from `id2label`, `label2id` and `num_labels`,
    /// which must agree.
    pub(crate) fn labels(&mut self) -> Result<Vec<String>> {
        let by_id = self.id2label()?;
        let by_label = self.label2id()?;
        let count = match self.take("num_labels") {
            None | Some(Value::Null) => None,
            Some(value) => Some(self.whole("num_labels", &value)?),
        };
        let labels = match (by_id, by_label) {
            (Some(names), Some(ids)) => {
                self.agree(&names, &ids)?;
                Some(names)
            }
            (Some(names), None) => Some(names),
            (None, Some(ids)) => Some(self.in_order(ids)?),
            (None, None) => None,
        };
        match (labels, count) {
            (Some(names), Some(n)) if names.len() != n => Err(self.error(
                "num_labels",
                format!("is {n}, but the label map has {} labels", names.len()),
            )),
            (Some(names), _) => Ok(names),
            (None, n) => {
                let n = n.unwrap_or(2);
                self.few_enough("num_labels", n)?;
                Ok(AlbertConfig::default_labels(n))
            }
        }
    }

    fn few_enough(&self, field: &str, labels: usize) -> Result<()> {
        if labels <= MAX_LABELS {
            return Ok(());
        }
        let problem = format!("gives {labels} labels; at most {MAX_LABELS} are supported");
        Err(self.error(field, problem))
    }

    fn id2label(&mut self) -> Result<Option<Vec<String>>> {
        let field = "id2label";
        let map = match self.take(field) {
            None | Some(Value::Null) => return Ok(None),
            Some(Value::Object(map)) => map,
            Some(value) => {
                return Err(self.error(
                    field,
                    format!("must map ids to names, not be {}", kind(&value)),
                ));
            }
        };
        self.few_enough(field, map.len())?;
        let mut names = vec![None; map.len()];
        for (id, name) in map {
            let Value::String(name) = name else {
                return Err(self.error(
                    field,
                    format!("has {} for {id:?}, where a name should be", shown(&name)),
                ));
            };
            match id.parse::<usize>().ok().and_then(|i| names.get_mut(i)) {
                Some(slot @ None) => *slot = Some(name),
                Some(Some(_)) => {
                    return Err(self.error(field, format!("has the id {id} twice")));
                }
                None => return Err(self.error(field, not_contiguous(&id, names.len()))),
            }
        }
        Ok(Some(names.into_iter().flatten().collect()))
    }

    fn label2id(&mut self) -> Result<Option<Vec<(String, usize)>>> {
        let field = "label2id";
        let map = match self.take(field) {
            None | Some(Value::Null) => return Ok(None),
            Some(Value::Object(map)) => map,
            Some(value) => {
                return Err(self.error(
                    field,
                    format!("must map names to ids, not be {}", kind(&value)),
                ));
            }
        };
        self.few_enough(field, map.len())?;
        let mut ids = Vec::with_capacity(map.len());
        for (name, id) in map {
            // Some older files have the ids as text.
            let number = match &id {
                Value::String(text) => text.parse().ok(),
                value => value.as_u64().and_then(|n| usize::try_from(n).ok()),
            };
            match number {
                Some(number) => ids.push((name, number)),
                None => {
                    return Err(self.error(
                        field,
                        format!("has {} for {name:?}, where an id should be", shown(&id)),
                    ));
                }
            }
        }
        Ok(Some(ids))
    }

    fn agree(&self, names: &[String], ids: &[(String, usize)]) -> Result<()> {
        let field = "label2id";
        for (name, id) in ids {
            match names.get(*id) {
                Some(other) if other == name => {}
                Some(other) => {
                    return Err(self.error(
                        field,
                        format!("has {id} for {name:?}, but `id2label` has {other:?} there"),
                    ));
                }
                None => {
                    return Err(self.error(
                        field,
                        format!(
                            "has {id} for {name:?}, but `id2label` has only {} labels",
                            names.len()
                        ),
                    ));
                }
            }
        }
        let known: HashSet<&String> = ids.iter().map(|(name, _)| name).collect();
        match names.iter().find(|name| !known.contains(name)) {
            Some(name) => Err(self.error(field, format!("lacks {name:?}, which `id2label` has"))),
            None => Ok(()),
        }
    }

    fn in_order(&self, ids: Vec<(String, usize)>) -> Result<Vec<String>> {
        let mut names = vec![None; ids.len()];
        for (name, id) in ids {
            match names.get_mut(id) {
                Some(slot @ None) => *slot = Some(name),
                Some(Some(_)) => {
                    return Err(self.error("label2id", format!("has the id {id} twice")));
                }
                None => {
                    return Err(
                        self.error("label2id", not_contiguous(&id.to_string(), names.len()))
                    );
                }
            }
        }
        Ok(names.into_iter().flatten().collect())
    }
}
