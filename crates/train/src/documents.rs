//! Documents from corpus files: plain text or JSONL, as they are or packed with zstd.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use serde::Deserialize;

use crate::error::{Error, Result};

/// A text and its paragraphs, in order. Titles are left out: they are no running text.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Document {
    /// The paragraphs, none of them blank.
    pub paragraphs: Vec<String>,
}

impl Document {
    /// Bytes of text.
    pub fn bytes(&self) -> usize {
        self.paragraphs.iter().map(String::len).sum()
    }

    /// Whether the text is full of what was left over of HTML or wiki markup: three marks or
    /// more, and one or more in every 5,000 bytes.
    pub fn is_markup(&self) -> bool {
        let marks: usize = self.paragraphs.iter().map(|text| marks(text)).sum();
        marks >= 3 && marks * 5000 >= self.bytes()
    }
}

/// What is left over of markup.
const MARKS: [&str; 11] = [
    "{{", "}}", "[[", "]]", "{|", "|}", "||", "<ref", "<br", "style=", "&nbsp;",
];

/// How many marks a text has; those of one kind do not overlap. One pass, led by the bytes that
/// every mark has and prose seldom.
fn marks(text: &str) -> usize {
    let bytes = text.as_bytes();
    let mut free = [0; MARKS.len()];
    let mut count = 0;
    for (at, byte) in bytes.iter().enumerate() {
        if !matches!(byte, b'{' | b'}' | b'[' | b']' | b'|' | b'<' | b'=' | b'&') {
            continue;
        }
        for (mark, free) in MARKS.iter().zip(&mut free) {
            // `style=` is met at its end.
            let back = if byte == &b'=' { mark.len() - 1 } else { 0 };
            let Some(start) = at.checked_sub(back).filter(|start| start >= free) else {
                continue;
            };
            if bytes[start..].starts_with(mark.as_bytes()) {
                count += 1;
                *free = start + mark.len();
            }
        }
    }
    count
}

/// The documents of one corpus file, read as they are asked for.
///
/// - `*.txt`: a blank line ends a document. A line is a paragraph, unless the document was
///   wrapped at a line width: when no line but the last is longer than 100 characters and fewer
///   than half of them end a sentence, the lines are joined.
/// - `*.jsonl`: one document a line, `{"paragraphs": [...]}` or `{"text": "..."}`, where every
///   line of `text` is a paragraph; other keys (`title`) are ignored.
///
/// Both may be packed with zstd, which is seen by content; the name may then end in `.zst`.
///
/// # Errors
/// Each item is a document or an error that names the file and the line: not UTF-8, not JSON, a
/// field missing, a broken zstd stream. After an error the iteration ends.
pub struct Documents {
    path: PathBuf,
    reader: Box<dyn BufRead + Send>,
    read: Arc<AtomicU64>,
    json: bool,
    line: usize,
    /// The most bytes of a document.
    limit: Option<usize>,
    blank_rows: bool,
    finished: bool,
}

impl Documents {
    /// Opens a corpus file.
    ///
    /// # Errors
    /// The file cannot be opened, or its name tells no known kind.
    pub fn open(path: &Path) -> Result<Documents> {
        let name = path
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .to_lowercase();
        let kind = name.strip_suffix(".zst").unwrap_or(&name);
        let json = kind.ends_with(".jsonl");
        if !json && !kind.ends_with(".txt") {
            return Err(Error::UnknownCorpus {
                path: path.to_owned(),
            });
        }
        let file = File::open(path).map_err(Error::io(path))?;
        let read = Arc::new(AtomicU64::new(0));
        let mut counted = BufReader::new(Counted {
            inner: file,
            count: read.clone(),
        });
        let head = counted.fill_buf().map_err(Error::io(path))?;
        let reader: Box<dyn BufRead + Send> = if head.starts_with(&[0x28, 0xb5, 0x2f, 0xfd]) {
            let decoder =
                zstd::stream::read::Decoder::with_buffer(counted).map_err(Error::io(path))?;
            Box::new(BufReader::with_capacity(1 << 18, decoder))
        } else {
            Box::new(counted)
        };
        Ok(Documents {
            path: path.to_owned(),
            reader,
            read,
            json,
            line: 0,
            limit: None,
            blank_rows: false,
            finished: false,
        })
    }

    /// Refuses documents and lines of more than `bytes`, so that memory is bounded.
    pub fn with_limit(self, bytes: usize) -> Documents {
        Documents {
            limit: Some(bytes),
            ..self
        }
    }

    /// Gives rows of JSONL without text, too, as documents without paragraphs.
    pub fn with_blank_rows(self) -> Documents {
        Documents {
            blank_rows: true,
            ..self
        }
    }

    /// Bytes of the file (packed, if it is) that were read so far.
    pub fn bytes_read(&self) -> u64 {
        self.read.load(Ordering::Relaxed)
    }

    /// The next line without its end, or `None` at the end of the file.
    fn next_line(&mut self) -> Result<Option<String>> {
        let mut bytes = Vec::new();
        self.line += 1;
        let most = self.limit.map_or(u64::MAX, |limit| limit as u64 + 1);
        let read = (&mut self.reader)
            .take(most)
            .read_until(b'\n', &mut bytes)
            .map_err(|source| Error::CorpusLine {
                path: self.path.clone(),
                line: self.line,
                message: format!("cannot be read: {source}"),
            })?;
        if read == 0 {
            return Ok(None);
        }
        self.within_limit(bytes.len())?;
        if bytes.last() == Some(&b'\n') {
            bytes.pop();
        }
        if bytes.last() == Some(&b'\r') {
            bytes.pop();
        }
        if self.line == 1 && bytes.starts_with(b"\xef\xbb\xbf") {
            bytes.drain(..3);
        }
        match String::from_utf8(bytes) {
            Ok(line) => Ok(Some(line)),
            Err(_) => Err(Error::NotUtf8 {
                path: self.path.clone(),
                line: self.line,
            }),
        }
    }

    fn next_json(&mut self) -> Result<Option<Document>> {
        loop {
            let Some(line) = self.next_line()? else {
                return Ok(None);
            };
            if line.trim().is_empty() {
                continue;
            }
            let row: Row = serde_json::from_str(&line).map_err(|error| self.bad(error))?;
            if row.paragraphs.is_none() && row.text.is_none() {
                return Err(self.bad("has neither `paragraphs` nor `text`"));
            }
            let mut paragraphs = without_blank(row.paragraphs.unwrap_or_default());
            if paragraphs.is_empty() {
                let text = row.text.unwrap_or_default();
                paragraphs = without_blank(text.lines().map(str::to_owned).collect());
            }
            let document = Document { paragraphs };
            if self.blank_rows || !document.paragraphs.is_empty() {
                return Ok(Some(document));
            }
        }
    }

    fn next_text(&mut self) -> Result<Option<Document>> {
        let mut lines: Vec<String> = Vec::new();
        let mut bytes = 0;
        loop {
            let line = self.next_line()?;
            match &line {
                Some(line) if !line.trim().is_empty() => {
                    bytes += line.len();
                    self.within_limit(bytes)?;
                    lines.push(line.trim().to_owned());
                }
                None if lines.is_empty() => return Ok(None),
                _ if lines.is_empty() => continue,
                _ => {
                    return Ok(Some(Document {
                        paragraphs: unwrapped(lines),
                    }));
                }
            }
        }
    }

    fn within_limit(&self, bytes: usize) -> Result<()> {
        match self.limit {
            Some(limit) if bytes > limit => Err(self.bad(format!(
                "a document of more than {} MB; {}",
                limit / 1_000_000,
                match self.json {
                    true => "make several of it",
                    false => "blank lines should lie between documents",
                }
            ))),
            _ => Ok(()),
        }
    }

    fn bad(&self, message: impl ToString) -> Error {
        Error::CorpusLine {
            path: self.path.clone(),
            line: self.line,
            message: message.to_string(),
        }
    }
}

impl Iterator for Documents {
    type Item = Result<Document>;

    fn next(&mut self) -> Option<Result<Document>> {
        if self.finished {
            return None;
        }
        let next = if self.json {
            self.next_json()
        } else {
            self.next_text()
        };
        self.finished = !matches!(next, Ok(Some(_)));
        next.transpose()
    }
}

#[derive(Deserialize)]
struct Row {
    paragraphs: Option<Vec<String>>,
    text: Option<String>,
}

fn without_blank(mut paragraphs: Vec<String>) -> Vec<String> {
    paragraphs.retain(|text| !text.trim().is_empty());
    paragraphs
}

/// Joins the lines of a document that was wrapped at a line width.
fn unwrapped(lines: Vec<String>) -> Vec<String> {
    let inner = &lines[..lines.len() - 1];
    let narrow = inner.iter().all(|line| line.chars().count() <= 100);
    let ending = inner.iter().filter(|line| ends_a_sentence(line)).count();
    if !inner.is_empty() && narrow && ending * 2 < inner.len() {
        vec![lines.join(" ")]
    } else {
        lines
    }
}

fn ends_a_sentence(line: &str) -> bool {
    let line = line.trim_end_matches(['"', '\'', ')', ']', '”', '’', '»']);
    line.ends_with(['.', '!', '?', '…', ':', ';', '。', '！', '？'])
}

/// Counts the bytes that pass through.
struct Counted {
    inner: File,
    count: Arc<AtomicU64>,
}

impl Read for Counted {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let read = self.inner.read(buffer)?;
        self.count.fetch_add(read as u64, Ordering::Relaxed);
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn file(name: &str, bytes: &[u8]) -> (tempfile::TempDir, PathBuf) {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let path = dir.path().join(name);
        File::create(&path)
            .and_then(|mut file| file.write_all(bytes))
            .expect("a written file");
        (dir, path)
    }

    fn read(name: &str, bytes: &[u8]) -> Result<Vec<Vec<String>>> {
        let (_dir, path) = file(name, bytes);
        Documents::open(&path)?
            .map(|document| Ok(document?.paragraphs))
            .collect()
    }

    #[test]
    fn text_with_a_paragraph_a_line() {
        let text = b"\n\nOne. Two.\r\nThree.\n\n\nFour.\n";
        assert_eq!(
            read("a.txt", text).expect("documents"),
            [vec!["One. Two.", "Three."], vec!["Four."]]
        );
    }

    #[test]
    fn wrapped_text_is_joined() {
        let text = b"It was a bright\ncold day in April,\nand clocks struck.\n";
        assert_eq!(
            read("a.txt", text).expect("documents"),
            [["It was a bright cold day in April, and clocks struck."]]
        );
    }

    #[test]
    fn json_rows_of_both_kinds_packed_or_not() {
        let rows = "{\"title\":\"T\",\"paragraphs\":[\"a\",\" \",\"b\"]}\n\n{\"text\":\"c\\n\\nd\"}\n{\"text\":\" \"}\n";
        let rows = &(rows.to_owned() + "{\"paragraphs\":[\" \"],\"text\":\"e\\nf\"}\n");
        let expected = [["a", "b"], ["c", "d"], ["e", "f"]];
        assert_eq!(
            read("a.jsonl", rows.as_bytes()).expect("documents"),
            expected
        );
        let packed = zstd::encode_all(rows.as_bytes(), 1).expect("packed rows");
        assert_eq!(read("a.jsonl.zst", &packed).expect("documents"), expected);
        let (_dir, path) = file("b.jsonl", rows.as_bytes());
        let documents = Documents::open(&path).expect("a corpus").with_blank_rows();
        let paragraphs = documents.map(|document| document.expect("a row").paragraphs.len());
        assert_eq!(paragraphs.collect::<Vec<_>>(), [2, 2, 0, 2]);
    }

    #[test]
    fn errors_name_file_and_line() {
        let message =
            |name: &str, bytes: &[u8]| read(name, bytes).expect_err("a bad corpus").to_string();
        assert!(message("a.txt", b"good\nb\xffd\n").ends_with("a.txt: line 2 is not UTF-8"));
        assert!(message("a.jsonl", b"{\"text\":\"a\"}\n{\"text\"").contains("a.jsonl: line 2: "));
        assert!(message("a.jsonl", b"{\"body\":\"a\"}").contains("line 1: has neither"));
        assert!(message("a.jsonl", b"{\"text\":3}").contains("line 1: "));
        assert!(message("a.pdf", b"").contains("not a corpus"));
        let mut packed = zstd::encode_all(&b"{\"text\":\"abc\"}\n"[..], 1).expect("packed rows");
        packed.truncate(packed.len() - 4);
        assert!(message("a.jsonl.zst", &packed).contains("cannot be read"));
    }

    #[test]
    fn markup_is_recognised() {
        let document = |text: &str| Document {
            paragraphs: vec![text.into()],
        };
        assert!(document("{| style=x || [[File:a]] <br>").is_markup());
        assert!(!document("See [[it]] once.").is_markup());
    }

    #[test]
    fn marks_are_counted_as_a_search_for_each_finds_them() {
        use crate::random::{Random, SplitMix64};
        let parts = [
            "{", "}", "[", "]", "|", "<ref", "<br", "style", "=", "&nbsp", ";", "a", " ", "é", "<r",
        ];
        let mut random = SplitMix64::new(5);
        for _ in 0..5_000 {
            let text: String = (0..random.below(40))
                .map(|_| parts[random.below(parts.len())])
                .collect();
            let plain: usize = MARKS.iter().map(|mark| text.matches(mark).count()).sum();
            assert_eq!(marks(&text), plain, "{text}");
        }
    }

    #[test]
    fn documents_beyond_a_limit_are_refused() {
        let refused = |name: &str, bytes: &[u8]| {
            let (_dir, path) = file(name, bytes);
            let documents = Documents::open(&path)
                .expect("a corpus")
                .with_limit(1_000_000);
            let errors: Vec<String> = documents
                .filter_map(|document| Some(document.err()?.to_string()))
                .collect();
            errors.concat()
        };
        let line = vec![b'a'; 600_000];
        let lines = [&line[..], b"\n", &line, b"\n"].concat();
        assert!(refused("a.txt", &lines).contains("line 2: a document of more than 1 MB"));
        assert!(refused("a.txt", &[&line[..], b"\n\n", &line].concat()).is_empty());
        assert!(refused("a.jsonl", &line.repeat(2)).contains("line 1: "));
    }
}
