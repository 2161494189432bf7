//! Running the built program as a user would: what all tests share.

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

/// Asserts that every fragment stands in the message.
pub fn names(message: &str, fragments: &[&str]) {
    for fragment in fragments {
        assert!(
            message.contains(fragment),
            "{fragment:?} is not named in: {message}"
        );
    }
}

/// A path as an argument.
pub fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}
