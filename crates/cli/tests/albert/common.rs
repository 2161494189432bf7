//! Running the built program as a user would.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// The repository's root.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// Runs `albert` with the models that ship.
pub fn albert(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_albert"))
        .args(args)
        .env("ALBERT_MODELS", root().join("models"))
        .output()
        .unwrap()
}

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

/// Asserts that every fragment stands in the message.
pub fn names(message: &str, fragments: &[&str]) {
    for fragment in fragments {
        assert!(
            message.contains(fragment),
            "{fragment:?} is not named in: {message}"
        );
    }
}

/// A reference folder of transformers.
pub fn golden(case: &str) -> PathBuf {
    root().join("golden/engine").join(case)
}

/// A path as an argument.
pub fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}
