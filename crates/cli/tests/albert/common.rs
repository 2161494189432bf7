//! Running the built program as a user would.

use std::path::PathBuf;

#[path = "../common/mod.rs"]
mod shared;

pub use shared::{albert, names, root, text};

/// The standard output of a run that must succeed.
pub fn stdout(args: &[&str]) -> String {
    let output = albert(args);
    assert!(
        output.status.success(),
        "albert {args:?} failed: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).unwrap()
}

/// The standard error of a run that must end with `code`, print no answer and not panic.
pub fn failure(args: &[&str], code: i32) -> String {
    let output = albert(args);
    let error = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(code), "albert {args:?}: {error}");
    assert!(
        output.stdout.is_empty(),
        "an error belongs on the standard error alone"
    );
    assert!(!error.contains("panicked"), "{error}");
    error
}

/// A reference folder of transformers.
pub fn golden(case: &str) -> PathBuf {
    root().join("golden/engine").join(case)
}
