//! The folders that transformers wrote, read to the number.
//! `golden/checkpoint/generate.py` made them.

mod common;

use std::fs;

use albert_checkpoint::{AlbertConfig, Architecture, Checkpoint};
use serde_json::Value;

#[test]
fn folders_of_transformers_read_as_they_were_written() {
    for version in ["transformers-4", "transformers-5"] {
        let home = common::golden().join(version);
        let text = fs::read_to_string(home.join("expected.json")).unwrap();
        let expected: Value = serde_json::from_str(&text).unwrap();
        for architecture in Architecture::ALL {
            let checkpoint = Checkpoint::open(&home.join(architecture.name())).unwrap();
            assert_eq!(checkpoint.config().architecture, architecture);
            assert!(checkpoint.notes().is_empty(), "{:?}", checkpoint.notes());
            assert!(checkpoint.unused().is_empty(), "{:?}", checkpoint.unused());
            let expected = expected[architecture.name()].as_object().unwrap();
            assert_eq!(checkpoint.tensors().count(), expected.len());
            for view in checkpoint.tensors() {
                let known = &expected[view.name];
                assert_eq!(serde_json::json!(view.shape), known["shape"]);
                let numbers = view.to_f32();
                assert_eq!(numbers[0], known["first"].as_f64().unwrap() as f32);
                let sum: f64 = numbers.iter().map(|x| f64::from(*x)).sum();
                // The same doubles in another order: n of them add up within
                // n * 2^-53 times the sum of their sizes, here below 288 * 1.2e-16 * 288.
                assert!(
                    (sum - known["sum"].as_f64().unwrap()).abs() < 1e-11,
                    "{}",
                    view.name
                );
            }
        }
    }
}

#[test]
fn configurations_of_both_versions_mean_the_same() {
    for architecture in Architecture::ALL {
        let read = |version: &str| {
            let path = common::golden()
                .join(version)
                .join(architecture.name())
                .join("config.json");
            AlbertConfig::from_json(&path, &fs::read_to_string(&path).unwrap()).unwrap()
        };
        assert_eq!(read("transformers-4"), read("transformers-5"));
    }
}
