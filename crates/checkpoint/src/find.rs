//! Models by name: where the ones that ship are found.

use std::collections::BTreeSet;
use std::env;
use std::fs;
use std::path::{Path, PathBuf};

use crate::config::Architecture;
use crate::error::{Error, Result};
use crate::survey::read_config;
use crate::weights::is_plain_name;

/// The model that is used when none is named.
pub const DEFAULT_MODEL: &str = "mini";

/// A model that is found by its name.
#[derive(Clone, Debug)]
pub struct ShippedModel {
    /// Name: that of its folder.
    pub name: String,
    /// The checkpoint folder.
    pub dir: PathBuf,
    /// Size of all files in the folder.
    pub bytes: u64,
    /// Number of parameters.
    pub parameters: usize,
    /// The heads, as `config.json` names them.
    pub architecture: Architecture,
    /// What it is for: the first sentence of its card, `README.md`, or the
    /// card's `summary`. Empty without a card.
    pub summary: String,
}

/// The folder of a model: that of the shipped model of this name, else the
/// folder at this path. `None` is the default model, `mini`.
///
/// Models that ship are looked for in `$ALBERT_MODELS`, then in `models` beside
/// the executable and in each folder above it, then in the user's data folder. A
/// folder that has the name of a shipped model is meant by writing `./NAME`.
/// With the feature `hub`, a name of the form `owner/name` that is no folder is one of the Hugging
/// Face hub: it is downloaded once into the cache that all of the hub's programs share.
///
/// # Errors
/// [`Error::NoSuchModel`] with the places and the names that are there;
/// [`Error::Folder`] for a path that does not exist; [`Error::Hub`] for a name that the hub does
/// not give.
pub fn find_model(name_or_dir: Option<&str>) -> Result<PathBuf> {
    find_in(&places(), name_or_dir)
}

/// All models that [`find_model`] finds by name, sorted by name. A folder whose
/// `config.json` cannot be read is left out.
pub fn shipped_models() -> Vec<ShippedModel> {
    shipped_in(&places())
}

/// The folders where models are looked for, in order, each once, whether they exist or not.
fn places() -> Vec<PathBuf> {
    let mut places = Vec::new();
    if let Some(paths) = env::var_os("ALBERT_MODELS") {
        places.extend(env::split_paths(&paths).filter(|path| !path.as_os_str().is_empty()));
    }
    // A link to the program stands for the program.
    if let Some(program) = env::current_exe()
        .ok()
        .map(|p| fs::canonicalize(&p).unwrap_or(p))
    {
        places.extend(
            program
                .ancestors()
                .skip(1)
                .map(|folder| folder.join("models")),
        );
    }
    places.extend(data_folder().map(|folder| folder.join("albert").join("models")));
    let mut seen = BTreeSet::new();
    places.retain(|place| seen.insert(place.clone()));
    places
}

/// Where the system keeps a user's application data.
fn data_folder() -> Option<PathBuf> {
    let absolute = |name: &str| {
        env::var_os(name)
            .map(PathBuf::from)
            .filter(|p| p.is_absolute())
    };
    if cfg!(windows) {
        absolute("LOCALAPPDATA")
    } else if cfg!(target_os = "macos") {
        absolute("HOME").map(|home| home.join("Library").join("Application Support"))
    } else {
        absolute("XDG_DATA_HOME")
            .or_else(|| absolute("HOME").map(|home| home.join(".local").join("share")))
    }
}

fn find_in(places: &[PathBuf], name_or_dir: Option<&str>) -> Result<PathBuf> {
    let name = name_or_dir.unwrap_or(DEFAULT_MODEL);
    if is_plain_name(name)
        && let Some(found) = places
            .iter()
            .map(|place| place.join(name))
            .find(|d| is_model(d))
    {
        return Ok(found);
    }
    match name_or_dir.map(Path::new) {
        Some(dir) if dir.is_dir() => Ok(dir.to_path_buf()),
        #[cfg(feature = "hub")]
        Some(dir) if !dir.exists() && crate::hub::is_name(name) => crate::hub::fetch(name),
        Some(dir) if !is_plain_name(name) || dir.exists() => {
            let problem = if dir.exists() {
                "is a file; a model is the folder that holds config.json and the weights"
            } else {
                "there is no such folder"
            };
            Err(Error::folder(dir, problem))
        }
        _ => Err(Error::NoSuchModel {
            name: name.to_owned(),
            looked_in: places.to_vec(),
            known: names_in(places).into_iter().map(|(name, _)| name).collect(),
        }),
    }
}

fn shipped_in(places: &[PathBuf]) -> Vec<ShippedModel> {
    names_in(places)
        .into_iter()
        .filter_map(|(name, dir)| {
            let (path, parsed) = read_config(&dir).ok()?;
            parsed.check(&path).ok()?;
            Some(ShippedModel {
                name,
                bytes: size_of_files(&dir),
                parameters: parsed.config.parameter_count(),
                architecture: parsed.config.architecture,
                summary: fs::read_to_string(dir.join("README.md"))
                    .map(|card| summary(&card))
                    .unwrap_or_default(),
                dir,
            })
        })
        .collect()
}

/// Names and folders of the models in all places, sorted; of two of one name
/// the first place's counts.
fn names_in(places: &[PathBuf]) -> Vec<(String, PathBuf)> {
    let mut seen = BTreeSet::new();
    let mut models = Vec::new();
    for place in places {
        for entry in fs::read_dir(place).into_iter().flatten().flatten() {
            let dir = entry.path();
            let Ok(name) = entry.file_name().into_string() else {
                continue;
            };
            // A hidden folder is one that is still being written.
            if !name.starts_with('.') && is_model(&dir) && seen.insert(name.clone()) {
                models.push((name, dir));
            }
        }
    }
    models.sort();
    models
}

fn is_model(dir: &Path) -> bool {
    dir.join("config.json").is_file()
}

fn size_of_files(dir: &Path) -> u64 {
    let files = fs::read_dir(dir).into_iter().flatten().flatten();
    files
        .filter_map(|entry| fs::metadata(entry.path()).ok())
        .filter(fs::Metadata::is_file)
        .map(|metadata| metadata.len())
        .sum()
}

/// A card's `summary` between its leading `---` lines, else the first sentence
/// of its first paragraph.
fn summary(card: &str) -> String {
    let mut lines = card.lines().peekable();
    if lines.next_if(|line| line.trim_end() == "---").is_some() {
        for line in lines.by_ref().take_while(|line| line.trim_end() != "---") {
            if let Some(text) = line.strip_prefix("summary:") {
                return text.trim().trim_matches(['"', '\'']).to_owned();
            }
        }
    }
    let is_prose = |line: &&str| {
        let line = line.trim();
        !line.is_empty() && !line.starts_with(['#', '!', '[', '<', '|', '>', '`', '='])
    };
    let paragraph: Vec<&str> = lines
        .skip_while(|line| !is_prose(line))
        .take_while(is_prose)
        .map(str::trim)
        .collect();
    let paragraph = paragraph.join(" ");
    match paragraph.find(". ") {
        Some(end) => paragraph[..=end].to_owned(),
        None => paragraph,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::AlbertConfig;

    /// A place with these models, each with a card.
    fn place(models: &[(&str, &str)]) -> tempfile::TempDir {
        let place = tempfile::tempdir().unwrap();
        let config = AlbertConfig::preset("tiny").unwrap().to_json();
        for (name, card) in models {
            let dir = place.path().join(name);
            fs::create_dir(&dir).unwrap();
            fs::write(dir.join("config.json"), &config).unwrap();
            fs::write(dir.join("README.md"), card).unwrap();
        }
        place
    }

    #[test]
    fn a_name_is_found_in_the_first_place_that_has_it() {
        let (first, second) = (
            place(&[("small", "")]),
            place(&[("mini", ""), ("small", "")]),
        );
        let places = [
            first.path().to_path_buf(),
            PathBuf::from("nowhere"),
            second.path().into(),
        ];
        assert_eq!(
            find_in(&places, Some("small")).unwrap(),
            first.path().join("small")
        );
        assert_eq!(find_in(&places, None).unwrap(), second.path().join("mini"));
        let folder = second.path().join("small");
        assert_eq!(find_in(&places, folder.to_str()).unwrap(), folder);
    }

    #[test]
    fn a_name_that_is_not_found_says_where_it_was_looked_for_and_what_is_there() {
        let place = place(&[("mini", ""), ("small", ""), (".albert-x.part", "")]);
        let places = [place.path().to_path_buf()];
        let message = find_in(&places, Some("large")).unwrap_err().to_string();
        let looked = place.path().display();
        assert_eq!(
            message,
            format!("no model `large`; looked in {looked}; models there: mini, small")
        );
        let message = find_in(&[PathBuf::from("nowhere")], None)
            .unwrap_err()
            .to_string();
        assert!(
            message.starts_with("no model `mini`; looked in nowhere; no models"),
            "{message}"
        );

        for (path, problem) in [("./large", "no such folder"), ("../x", "no such folder")] {
            let message = find_in(&places, Some(path)).unwrap_err().to_string();
            assert_eq!(message, format!("{path}: there is {problem}"));
        }
        let file = place.path().join("mini/config.json");
        let message = find_in(&places, file.to_str()).unwrap_err().to_string();
        assert!(message.contains("is a file"), "{message}");
        assert!(find_in(&places, Some("")).is_err());
        assert!(find_in(&places, Some("..")).is_ok_and(|dir| dir == Path::new("..")));
    }

    #[test]
    fn models_are_listed_once_with_what_their_cards_say() {
        let first = place(&[
            ("small", "# Small\n\nFor tests. Not for use.\n"),
            ("bad", ""),
        ]);
        let second = place(&[
            (
                "mini",
                "---\nlicense: MIT\nsummary: \"A summary.\"\n---\nText.",
            ),
            ("small", ""),
        ]);
        fs::write(first.path().join("bad/config.json"), "{").unwrap();
        let models = shipped_in(&[first.path().into(), second.path().into()]);
        let listed: Vec<_> = models
            .iter()
            .map(|m| (m.name.as_str(), m.summary.as_str()))
            .collect();
        assert_eq!(listed, [("mini", "A summary."), ("small", "For tests.")]);
        let tiny = AlbertConfig::preset("tiny").unwrap();
        assert_eq!(models[1].parameters, tiny.parameter_count());
        assert_eq!(models[1].architecture, tiny.architecture);
        assert_eq!(models[1].dir, first.path().join("small"));
        assert_eq!(models[1].bytes, tiny.to_json().len() as u64 + 33);
    }

    #[test]
    fn a_summary_is_the_first_sentence_of_prose() {
        for (card, expected) in [
            ("", ""),
            ("# Only a title\n", ""),
            (
                "# Title\n![curve](a.svg)\n\nOne model\nof 3.2 million parameters. More.",
                "One model of 3.2 million parameters.",
            ),
            ("---\nlicense: MIT\n---\n\nNo full stop", "No full stop"),
            ("---\nnever closed", ""),
        ] {
            assert_eq!(summary(card), expected, "{card:?}");
        }
    }

    #[test]
    fn models_beside_and_above_the_program_are_looked_for() {
        let program = fs::canonicalize(env::current_exe().unwrap()).unwrap();
        let beside = program.parent().unwrap();
        let places = places();
        let position = |dir: &Path| {
            places
                .iter()
                .position(|p| *p == dir.join("models"))
                .unwrap()
        };
        assert!(position(beside) < position(beside.parent().unwrap()));
    }
}
