//! Models by their names on the hub, of which a thread plays the part.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Command, Output};
use std::sync::{Arc, Mutex};
use std::{fs, thread};

use crate::common::{golden, names, root};

/// A hub that has some files of `tiny/model`, and remembers what it was asked.
struct Hub {
    endpoint: String,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Hub {
    /// `token`: who asks without it is refused.
    fn new(files: HashMap<String, Vec<u8>>, token: Option<&'static str>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let asked = Arc::new(Mutex::new(Vec::new()));
        let seen = asked.clone();
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                // A client that goes away is its own business.
                let _ = serve(stream, &files, token, &seen);
            }
        });
        Self { endpoint, asked }
    }

    fn asked(&self) -> usize {
        self.asked.lock().unwrap().len()
    }
}

fn serve(
    stream: TcpStream,
    files: &HashMap<String, Vec<u8>>,
    token: Option<&str>,
    asked: &Mutex<Vec<String>>,
) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut lines = Vec::new();
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 || line.trim().is_empty() {
            break;
        }
        lines.push(line.trim().to_owned());
    }
    let header = |name: &str| {
        let value = |line: &String| {
            let (key, value) = line.split_once(": ")?;
            key.eq_ignore_ascii_case(name).then(|| value.to_owned())
        };
        lines.iter().find_map(value)
    };
    let path = lines.first().and_then(|line| line.split(' ').nth(1));
    let path = path.unwrap_or_default().to_owned();
    asked.lock().unwrap().push(path.clone());
    let mut out = stream;
    let bare = |out: &mut TcpStream, status: &str| {
        write!(
            out,
            "HTTP/1.1 {status}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
        )
    };
    if token.is_some_and(|token| header("authorization") != Some(format!("Bearer {token}"))) {
        return bare(&mut out, "401 Unauthorized");
    }
    let file = path.strip_prefix("/tiny/model/resolve/main/");
    let Some((name, bytes)) = file.and_then(|file| files.get_key_value(file)) else {
        return bare(&mut out, "404 Not Found");
    };
    let range = header("range").unwrap_or_default();
    let range = range.strip_prefix("bytes=").and_then(|r| r.split_once('-'));
    let (from, to) = range.unwrap_or(("0", ""));
    let from: usize = from.parse().unwrap_or(0);
    let to = to
        .parse()
        .map_or(bytes.len(), |to: usize| to + 1)
        .min(bytes.len());
    let part = &bytes[from..to];
    write!(
        out,
        "HTTP/1.1 206 Partial Content\r\netag: \"{name}-1\"\r\nx-repo-commit: 0123abcd\r\n\
         content-range: bytes {from}-{}/{}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
        to.max(1) - 1,
        bytes.len(),
        part.len()
    )?;
    out.write_all(part)
}

/// The files of a reference folder, with the tokenizer of the model that ships.
fn files() -> HashMap<String, Vec<u8>> {
    let folder = golden("sequence_classes3");
    let read = |path: &Path| fs::read(path).unwrap();
    HashMap::from([
        ("config.json".to_owned(), read(&folder.join("config.json"))),
        (
            "model.safetensors".to_owned(),
            read(&folder.join("model.safetensors")),
        ),
        (
            "tokenizer.json".to_owned(),
            read(&root().join("models/mini/tokenizer.json")),
        ),
    ])
}

fn inspect(home: &Path, endpoint: &str, more: &[(&str, &str)]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_albert"))
        .args(["inspect", "tiny/model", "--json"])
        .env("HF_HOME", home)
        .env("HF_ENDPOINT", endpoint)
        .env_remove("HF_TOKEN")
        .env_remove("HF_HUB_OFFLINE")
        .envs(more.iter().copied())
        .output()
        .unwrap()
}

fn said(output: &Output) -> String {
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!error.contains("panicked"), "{error}");
    error
}

#[test]
fn a_model_is_downloaded_once() {
    let home = tempfile::tempdir().unwrap();
    let hub = Hub::new(files(), None);
    let first = inspect(home.path(), &hub.endpoint, &[]);
    assert!(first.status.success(), "{}", said(&first));
    let text = String::from_utf8(first.stdout).unwrap();
    names(
        &text,
        &["AlbertForSequenceClassification", "tokenizer.json"],
    );
    let asked = hub.asked();
    assert!(asked >= 3);
    // From the cache, whether the hub is there or not.
    for more in [&[][..], &[("HF_HUB_OFFLINE", "1")]] {
        let again = inspect(home.path(), &hub.endpoint, more);
        assert_eq!(String::from_utf8(again.stdout).unwrap(), text);
    }
    assert_eq!(hub.asked(), asked);
}

#[test]
fn shards_of_pytorch_are_downloaded_by_their_index() {
    let folder = root().join("golden/checkpoint/torch");
    let mut files = HashMap::new();
    files.insert(
        "config.json".to_owned(),
        fs::read(folder.join("config.json")).unwrap(),
    );
    for file in fs::read_dir(folder.join("shards")).unwrap() {
        let file = file.unwrap();
        let name = file.file_name().into_string().unwrap();
        files.insert(name, fs::read(file.path()).unwrap());
    }
    let home = tempfile::tempdir().unwrap();
    let hub = Hub::new(files.clone(), None);
    let whole = inspect(home.path(), &hub.endpoint, &[]);
    assert!(whole.status.success(), "{}", said(&whole));

    files.remove("pytorch_model-00002-of-00003.bin");
    let home = tempfile::tempdir().unwrap();
    let hub = Hub::new(files, None);
    let none = inspect(home.path(), &hub.endpoint, &[]);
    let index = "pytorch_model.bin.index.json";
    names(
        &said(&none),
        &["tiny/model", index, "pytorch_model-00002-of-00003.bin"],
    );
}

#[test]
fn a_token_is_shown_where_there_is_one() {
    let home = tempfile::tempdir().unwrap();
    let hub = Hub::new(files(), Some("secret"));
    let refused = inspect(home.path(), &hub.endpoint, &[]);
    assert_eq!(refused.status.code(), Some(1));
    names(&said(&refused), &["tiny/model", "HF_TOKEN"]);
    let given = inspect(home.path(), &hub.endpoint, &[("HF_TOKEN", "secret")]);
    assert!(given.status.success(), "{}", said(&given));
}

#[test]
fn a_model_that_cannot_be_had_is_told() {
    let home = tempfile::tempdir().unwrap();
    let offline = [("HF_HUB_OFFLINE", "1")];
    let none = inspect(home.path(), "http://127.0.0.1:9", &offline);
    names(&said(&none), &["tiny/model", "HF_HUB_OFFLINE", "cache"]);
    // Nothing listens at the discard port.
    let none = inspect(home.path(), "http://127.0.0.1:9", &[]);
    names(&said(&none), &["tiny/model", "cannot be reached"]);

    let mut some = files();
    some.remove("model.safetensors");
    let hub = Hub::new(some, None);
    let none = inspect(home.path(), &hub.endpoint, &[]);
    assert_eq!(none.status.code(), Some(1));
    names(&said(&none), &["tiny/model", "model.safetensors"]);
    // The next try begins where this one ended.
    let hub = Hub::new(files(), None);
    assert!(inspect(home.path(), &hub.endpoint, &[]).status.success());
}
