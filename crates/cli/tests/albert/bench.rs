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

#[test]
fn forward_passes_are_timed_in_either_precision() {
    let home = tempfile::tempdir().unwrap();
    let lengths = home.path().join("lengths.txt");
    std::fs::write(&lengths, "3\n17\n5\n40\n9\n").unwrap();
    let lengths = lengths.to_str().unwrap();
    let run = ["bench", "run", "--json", "--seconds", "0", "--batch", "2"];
    for (more, rows, tokens) in [
        (&["--length", "16"][..], 20.0, 320.0),
        (&["--length", "16", "--precision", "int8"], 20.0, 320.0),
        (&["--lengths", lengths, "--model", "sentiment"], 5.0, 74.0),
    ] {
        let report: Value = serde_json::from_str(&stdout(&[&run[..], more].concat())).unwrap();
        let number = |field: &str| report[field].as_f64().unwrap_or(f64::NAN);
        let latency = |field: &str| report["latency_ms"][field].as_f64().unwrap_or(f64::NAN);
        assert!(
            latency("min") > 0.0 && latency("min") <= latency("median"),
            "{report}"
        );
        assert!(latency("median") <= latency("p99"), "{report}");
        assert!(
            (number("rows_per_s") / number("tokens_per_s") - rows / tokens).abs() < 1e-9,
            "{report}"
        );
        assert!(
            number("peak_share") > 0.0 && number("peak_share") < 1.5,
            "{report}"
        );
        if cfg!(target_os = "linux") {
            assert!(number("peak_memory_bytes") > 1e6, "{report}");
        }
    }
}

#[test]
fn rows_that_cannot_be_timed_are_refused_by_line() {
    let home = tempfile::tempdir().unwrap();
    let lengths = home.path().join("lengths.txt");
    let file = lengths.to_str().unwrap();
    for (text, named) in [
        ("3\n0\n", "line 2"),
        ("3\nfour\n", "`four`"),
        ("9999", "512"),
        ("", "no length"),
    ] {
        std::fs::write(&lengths, text).unwrap();
        let message = failure(&["bench", "run", "--lengths", file], 1);
        names(&message, &["lengths.txt", named]);
    }
    let message = failure(&["bench", "run", "--length", "600"], 1);
    names(&message, &["600", "512"]);
}
