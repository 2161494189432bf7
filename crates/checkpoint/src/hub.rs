//! Models by their names on the Hugging Face hub: downloaded once, then read from the cache that
//! all of the hub's programs share.
//!
//! `HF_HOME` says where the cache is, `HF_ENDPOINT` where the hub, `HF_TOKEN` (or the file that
//! logging in leaves) who asks, and `HF_HUB_OFFLINE=1` that the cache must do.

use std::env;
use std::io::IsTerminal;
use std::path::{Path, PathBuf};

use hf_hub::api::sync::{ApiBuilder, ApiError, ApiRepo};
use hf_hub::{Cache, Repo};

use crate::error::{Error, Result};
use crate::weights::{INDEX, SINGLE, TORCH, TORCH_INDEX, read_index};

const CONFIG: &str = "config.json";

/// What may lie beside the weights. A `tokenizer.json` is not among the files where a
/// `spiece.model` is: today's, made from it, cut text otherwise than the official code.
const EXTRAS: [&str; 3] = ["tokenizer_config.json", "vocab.txt", "task.json"];

/// Whether this is how a model is named there: `owner/name`.
pub(crate) fn is_name(name: &str) -> bool {
    let part = |part: &str| {
        part.starts_with(|first: char| first.is_ascii_alphanumeric())
            && part
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'))
    };
    name.split_once('/')
        .is_some_and(|(owner, name)| part(owner) && part(name))
}

/// The folder of a model of the hub in the cache; downloaded first if it is not there.
///
/// # Errors
/// [`Error::Hub`]: it is not there, needs a token, cannot be reached, or has weights that cannot be
/// read here. What was downloaded by then stays in the cache and is not downloaded again.
pub(crate) fn fetch(name: &str) -> Result<PathBuf> {
    let fail = |problem: String| Error::Hub {
        name: name.to_owned(),
        problem,
    };
    if env::var_os("HF_HOME").is_none() && env::home_dir().is_none() {
        let problem = "there is no home folder for the cache: set HF_HOME".to_owned();
        return Err(fail(problem));
    }
    let cache = Cache::from_env();
    let repo = Repo::model(name.to_owned());
    // The configuration is downloaded last: where it is, all else is.
    if let Some(config) = cache.repo(repo.clone()).get(CONFIG) {
        return folder(name, &config);
    }
    let offline = env::var("HF_HUB_OFFLINE").unwrap_or_default();
    if !matches!(
        offline.to_lowercase().as_str(),
        "" | "0" | "false" | "no" | "off"
    ) {
        let place = cache.path().display();
        return Err(fail(format!(
            "HF_HUB_OFFLINE is set, and it is not in the cache {place}"
        )));
    }
    let token = env::var("HF_TOKEN").ok().filter(|token| !token.is_empty());
    let token = token.or_else(|| cache.token());
    let api = ApiBuilder::from_env()
        .with_token(token)
        .with_progress(std::io::stderr().is_terminal())
        .with_retries(2)
        .build()
        .map_err(|error| fail(told(&error)))?;
    let repo = api.repo(repo);
    let get = |file: &str| optional(&repo, file).map_err(|error| fail(told(&error)));

    let shards = |name: &str| {
        let Some(index) = get(name)? else {
            return Ok(false);
        };
        for shard in read_index(&index)?.into_keys() {
            if get(&shard)?.is_none() {
                return Err(fail(format!("{name} lists {shard}, which is not there")));
            }
        }
        Ok(true)
    };
    let none =
        get(SINGLE)?.is_none() && !shards(INDEX)? && get(TORCH)?.is_none() && !shards(TORCH_INDEX)?;
    if none {
        return Err(fail(format!(
            "it has none of {SINGLE}, {INDEX}, {TORCH} and {TORCH_INDEX}, or it is not there, or it \
             needs a token (HF_TOKEN)"
        )));
    }
    if get("spiece.model")?.is_none() {
        get("tokenizer.json")?;
    }
    for extra in EXTRAS {
        get(extra)?;
    }
    match get(CONFIG)? {
        Some(config) => folder(name, &config),
        None => Err(fail(format!("it has no {CONFIG}"))),
    }
}

fn folder(name: &str, config: &Path) -> Result<PathBuf> {
    let folder = config.parent().map(Path::to_path_buf);
    folder.ok_or_else(|| Error::Hub {
        name: name.to_owned(),
        problem: format!("{} is in no folder", config.display()),
    })
}

/// A file of the model, if it has it.
fn optional(repo: &ApiRepo, file: &str) -> Result<Option<PathBuf>, ApiError> {
    match repo.get(file) {
        Ok(path) => Ok(Some(path)),
        Err(ApiError::RequestError(error)) if matches!(*error, ureq::Error::Status(404, _)) => {
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

/// What went wrong, in a sentence that helps.
fn told(error: &ApiError) -> String {
    match error {
        ApiError::RequestError(error) => match &**error {
            ureq::Error::Status(401 | 403, response) => format!(
                "{} refuses it: it is not there, or needs a token (HF_TOKEN)",
                response.get_url()
            ),
            ureq::Error::Status(status, response) => {
                format!("{} answers with status {status}", response.get_url())
            }
            ureq::Error::Transport(_) => format!("the hub cannot be reached: {error}"),
        },
        ApiError::TooManyRetries(error) => told(error),
        error => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::is_name;

    #[test]
    fn names_of_the_hub_are_told_from_folders() {
        assert!(is_name("albert/albert-base-v2") && is_name("a/b_c.d"));
        for path in [
            "./model", "../model", "/a/b", "a/b/c", "a/", "/b", "mini", "a\\b", "a/.b",
        ] {
            assert!(!is_name(path), "{path}");
        }
    }
}
