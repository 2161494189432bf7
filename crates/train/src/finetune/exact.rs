//! Numbers that a state gives back to the very bit.
//!
//! A JSON number that is read may come back a unit in the last place away from what was written, and
//! infinity not at all; a run that is resumed would then take an equal score for a better one. As text
//! every number comes back as it was.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::dev::Scores;

/// A number that is stored as text.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Exact(pub f64);

impl Serialize for Exact {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        // The shortest text that is read as the same number.
        serializer.collect_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Exact {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map(Self).map_err(serde::de::Error::custom)
    }
}

/// Scores whose values are stored as text.
#[derive(Serialize, Deserialize)]
struct ExactScores {
    main: String,
    values: BTreeMap<String, Exact>,
}

/// For `#[serde(with = "exact::scores")]`.
pub(crate) mod scores {
    use super::*;

    pub(crate) fn serialize<S: Serializer>(
        scores: &Scores,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        let values = scores.values.iter();
        let exact = ExactScores {
            main: scores.main.clone(),
            values: values
                .map(|(name, &value)| (name.clone(), Exact(value)))
                .collect(),
        };
        exact.serialize(serializer)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Scores, D::Error> {
        let ExactScores { main, values } = ExactScores::deserialize(deserializer)?;
        let values = values.into_iter().map(|(name, Exact(value))| (name, value));
        Ok(Scores {
            main,
            values: values.collect(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Serialize, Deserialize)]
    struct Kept(#[serde(with = "scores")] Scores);

    #[test]
    fn every_score_comes_back_to_the_bit() {
        for right in 0..=872 {
            let value = f64::from(right) / 872.0;
            let scores = Scores {
                main: "accuracy".to_owned(),
                values: BTreeMap::from([("accuracy".to_owned(), value)]),
            };
            let json = serde_json::to_string(&Kept(scores.clone())).unwrap();
            let Kept(read) = serde_json::from_str(&json).unwrap();
            assert_eq!(read.main_value().to_bits(), value.to_bits(), "{json}");
        }
    }

    #[test]
    fn infinity_comes_back() {
        let json = serde_json::to_string(&Exact(f64::NEG_INFINITY)).unwrap();
        assert_eq!(
            serde_json::from_str::<Exact>(&json).unwrap(),
            Exact(f64::NEG_INFINITY)
        );
    }
}
