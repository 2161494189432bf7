//! Our scores against those of scikit-learn, scipy, seqeval and SQuAD's rules
//! (`golden/data/metrics.py`).

#[path = "common/sets.rs"]
mod sets;

use std::path::Path;

use serde::Deserialize;
use serde_json::{Map, Value};

#[derive(Deserialize)]
struct Kept {
    set: sets::Set,
    scores: Map<String, Value>,
}

#[test]
fn scores_are_those_of_the_reference_programs() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../golden/data/metrics.json");
    let text = std::fs::read_to_string(path).unwrap();
    let kept: Vec<Kept> = serde_json::from_str(&text).unwrap();
    assert!(kept.len() >= 30);
    for (number, kept) in kept.iter().enumerate() {
        let found = sets::scores(&kept.set);
        for (name, expected) in &kept.scores {
            let found = &found[name];
            let (Some(found), Some(expected)) = (found.as_f64(), expected.as_f64()) else {
                assert_eq!(found, expected, "set {number}: {name}");
                continue;
            };
            // Sums of up to some hundred numbers near 1 in another order.
            assert!(
                (found - expected).abs() < 1e-12,
                "set {number}: {name} is {found}, not {expected}"
            );
        }
    }
}
