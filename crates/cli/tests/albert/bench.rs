//! What `albert bench` prints.

use serde_json::Value;

use crate::common::{failure, names, stdout};

const TRAIN: [&str; 8] = [
    "bench", "train", "--batch", "4", "--length", "24", "--steps", "3",
];

#[test]
fn training_steps_are_timed() {
    let args = [&TRAIN[..], &["--preset", "tiny", "--json"]].concat();
    let report: Value = serde_json::from_str(&stdout(&args)).unwrap();
    let number = |field: &str| report[field].as_f64().unwrap_or(f64::NAN);
    assert_eq!(report["step_ms_all"].as_array().map(Vec::len), Some(3));
    // 4 x 24 positions a step.
    let rate = 96.0 / number("step_ms") * 1e3;
    assert!(
        (number("tokens_per_s") / rate - 1.0).abs() < 1e-6,
        "{report}"
    );
    assert!(number("loss").is_finite() && number("estimated_memory_bytes") > 0.0);
    if cfg!(target_os = "linux") {
        assert!(number("peak_memory_bytes") > 1e6, "{report}");
    }
}

#[test]
fn what_cannot_be_timed_is_refused_by_name() {
    let with = |more: &[&'static str]| [&TRAIN[..], more].concat();
    let message = failure(&with(&["--preset", "huge"]), 1);
    names(&message, &["--preset", "huge", "mini"]);
    let long = ["bench", "train", "--preset", "mini", "--length", "600"];
    names(&failure(&long, 1), &["`length`", "512"]);
    let large = [
        "bench", "train", "--preset", "xxlarge", "--batch", "65536", "--length", "512",
    ];
    names(&failure(&large, 1), &["`batch`", "GB", "rows would fit"]);
}
