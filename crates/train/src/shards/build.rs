//! Building a folder of shards, and going on with one.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::{Scope, ScopedJoinHandle};
use std::time::Instant;

use albert_kernels::available_threads;

use super::format::{Counts, FORMAT, INDEX, Manifest, PROGRESS, Place, Setup, ShardEntry};
use super::inputs::{identify, length, same_content, same_lengths};
use super::pipeline::{self, Done, Event, Fate, Work};
use super::read::verify;
use super::write::Filling;
use crate::documents::Documents;
use crate::error::{Error, Result};
use crate::files::{Lock, remove_unfinished};
use crate::start::{open_tokenizer, tokenizer_checksum};
use crate::vocabulary::Vocabulary;

/// The largest shard: places in it have 32 bits.
const MAX_SHARD_BYTES: u64 = 1 << 30;

const AT_WORK: &str = "another build is at work in this folder";

/// What to build, of what, and where.
#[derive(Clone, Debug)]
pub struct BuildOptions {
    /// Corpus files ([`Documents`] says which kinds).
    pub corpus: Vec<PathBuf>,
    /// A tokenizer's file, or a folder with one.
    pub tokenizer: PathBuf,
    /// The folder for the shards: new, empty, or one in which the same build was stopped.
    pub output: PathBuf,
    /// A shard is full when its pieces have so many bytes; at most a gibibyte. The work on a shard
    /// that was not full is lost when a build is stopped.
    pub shard_bytes: u64,
    /// At most so many bytes of text of each file; the document that passes the limit is the last.
    pub max_bytes: Option<u64>,
    /// Leave out documents full of markup
    /// ([`Document::is_markup`](crate::documents::Document::is_markup)).
    pub drop_markup: bool,
    /// Threads that tokenise; the processor's by default.
    pub threads: Option<usize>,
}

/// What a build is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BuildPhase {
    /// Reading the corpus files to know them again.
    Checking,
    /// Reading what an earlier build has done, so that duplicates of it are seen.
    CatchingUp,
    /// Tokenising.
    Tokenising,
}

/// How far a build has come.
#[derive(Clone, Copy, Debug)]
pub struct BuildReport {
    /// What it is doing.
    pub phase: BuildPhase,
    /// Bytes of the files, as they lie on disk, that were read in this phase.
    pub bytes_read: u64,
    /// Bytes of all files on disk.
    pub bytes_total: u64,
    /// What became of the documents, those of an earlier build included.
    pub counts: Counts,
    /// Bytes of text that this build has tokenised.
    pub text_bytes: u64,
    /// Seconds of this phase.
    pub seconds: f64,
    /// Bytes of the files that this build need not tokenise.
    bytes_before: u64,
}

impl BuildReport {
    /// Bytes of text that are tokenised in a second.
    pub fn text_bytes_per_second(&self) -> f64 {
        self.text_bytes as f64 / self.seconds.max(1e-9)
    }

    /// Seconds of this phase to come at the rate so far.
    pub fn seconds_left(&self) -> f64 {
        let read = self.bytes_read.saturating_sub(self.bytes_before) as f64;
        let left = self.bytes_total.saturating_sub(self.bytes_read) as f64;
        left / (read / self.seconds.max(1e-9)).max(1e-9)
    }
}

/// A build that was carried out.
#[derive(Clone, Debug)]
pub struct Built {
    /// What is in the folder now.
    pub manifest: Manifest,
    /// Whether it was all there before.
    pub was_finished: bool,
    /// Shards that were there before.
    pub shards_before: usize,
    /// Bytes of text that this build has tokenised.
    pub text_bytes: u64,
    /// Seconds spent on that.
    pub seconds: f64,
}

/// Tokenises corpus files into a folder of shards, or goes on where such a build was stopped.
///
/// Documents whose text came before, documents that no pair can be made of, and those full of
/// markup are left out and counted. The shards are the same, to the byte, however many threads
/// work and however often the build is stopped. Beside the blocks on their way and two shards,
/// memory holds 20 to 40 bytes a document: the hashes by which duplicates are known.
///
/// On a folder that is finished it only checks that it was made from the same.
///
/// # Errors
/// A corpus file or the tokenizer cannot be read (with the line); there is no text; the folder has
/// something else in it, or was begun with other files, another tokenizer or other options; another
/// program builds there; a shard in it is damaged; a file cannot be written; or `report`'s error.
pub fn build(
    options: &BuildOptions,
    report: &mut dyn FnMut(&BuildReport) -> Result<()>,
) -> Result<Built> {
    let folder = &options.output;
    if !(1..=MAX_SHARD_BYTES).contains(&options.shard_bytes) {
        let message = format!("shards must have 1 to {MAX_SHARD_BYTES} bytes");
        return Err(Error::shards(folder, message));
    }
    let tokenizer = open_tokenizer(&options.tokenizer)?;
    let mut setup = Setup {
        tokenizer: tokenizer_checksum(&options.tokenizer)?,
        vocab_size: tokenizer.vocab_size(),
        shard_bytes: options.shard_bytes,
        max_bytes: options.max_bytes,
        drop_markup: options.drop_markup,
        blank_rows: true,
        inputs: Vec::new(),
    };
    let mut bytes_total = 0;
    for path in &options.corpus {
        Documents::open(path)?;
        bytes_total += length(path)?;
    }
    let began = begun(folder)?;
    if let Some(began) = &began {
        same_setup(folder, &began.setup, &setup)?;
        same_lengths(folder, &began.setup, &options.corpus)?;
    }
    let threads = options.threads.unwrap_or_else(available_threads).max(1);

    let start = Instant::now();
    let mut checking = BuildReport {
        phase: BuildPhase::Checking,
        bytes_read: 0,
        bytes_total,
        counts: Counts::default(),
        text_bytes: 0,
        seconds: 0.0,
        bytes_before: 0,
    };
    setup.inputs = identify(&options.corpus, &mut |bytes_read| {
        checking.bytes_read = bytes_read;
        checking.seconds = start.elapsed().as_secs_f64();
        report(&checking)
    })?;
    if let Some(began) = &began {
        same_content(folder, &began.setup, &setup.inputs)?;
        verify(folder, began, threads)?;
    }
    let shards_before = began.as_ref().map_or(0, |began| began.shards.len());
    if let Some(manifest) = began.clone().filter(|began| began.next.is_none()) {
        // Of a program that was killed after its last step but one.
        let _ = std::fs::remove_file(folder.join(PROGRESS));
        return Ok(Built {
            manifest,
            was_finished: true,
            shards_before,
            text_bytes: 0,
            seconds: 0.0,
        });
    }

    std::fs::create_dir_all(folder).map_err(Error::io(folder))?;
    let _lock = Lock::new(folder).ok_or_else(|| Error::shards(folder, AT_WORK))?;
    if begun(folder)? != began {
        return Err(Error::shards(folder, AT_WORK));
    }
    remove_unfinished(folder);
    let manifest = began.unwrap_or(Manifest {
        format: FORMAT,
        setup,
        counts: Counts::default(),
        next: Some(Place::default()),
        shards: Vec::new(),
    });
    // Before the first shard, so that whatever lies in the folder can be told to be ours.
    manifest.write(&folder.join(PROGRESS))?;
    let work = Work {
        paths: &options.corpus,
        setup: &manifest.setup.clone(),
        tokenizer: &tokenizer,
        vocabulary: &Vocabulary::new(&tokenizer),
        threads,
        from: manifest.next.unwrap_or_default(),
    };
    let built = carry_out(folder, manifest, &work, shards_before, report);
    if built.is_err() && !folder.join(super::format::shard_name(0)).exists() {
        // A failed start leaves nothing behind.
        let _ = std::fs::remove_file(folder.join(PROGRESS));
        let _ = std::fs::remove_dir(folder);
    }
    built
}

fn carry_out(
    folder: &Path,
    manifest: Manifest,
    work: &Work<'_>,
    shards_before: usize,
    report: &mut dyn FnMut(&BuildReport) -> Result<()>,
) -> Result<Built> {
    let bytes_read = AtomicU64::new(0);
    let mut told = BuildReport {
        phase: BuildPhase::CatchingUp,
        bytes_read: 0,
        bytes_total: manifest.setup.inputs.iter().map(|input| input.bytes).sum(),
        counts: manifest.counts,
        text_bytes: 0,
        seconds: 0.0,
        bytes_before: 0,
    };
    if manifest.next == Some(Place::default()) {
        told.phase = BuildPhase::Tokenising;
    }
    let bytes_at_start = manifest.counts.bytes;
    let mut start = Instant::now();
    let (manifest, seconds) = std::thread::scope(|scope| {
        let mut builder = Builder {
            folder,
            counts: manifest.counts,
            filling: Filling::new(&manifest.setup),
            manifest,
            saving: None,
            scope,
        };
        pipeline::run(work, &bytes_read, &mut |event| {
            told.bytes_read = bytes_read.load(Ordering::Relaxed);
            if let Event::Block(done) = event {
                if told.phase == BuildPhase::CatchingUp {
                    told.phase = BuildPhase::Tokenising;
                    told.bytes_before = told.bytes_read;
                    start = Instant::now();
                }
                builder.take(&done)?;
                told.counts = builder.counts;
                told.text_bytes = builder.counts.bytes - bytes_at_start;
            }
            told.seconds = start.elapsed().as_secs_f64();
            report(&told)
        })?;
        let manifest = builder.finish(work.paths)?;
        Ok::<_, Error>((manifest, start.elapsed().as_secs_f64()))
    })?;
    Ok(Built {
        text_bytes: manifest.counts.bytes - bytes_at_start,
        manifest,
        was_finished: false,
        shards_before,
        seconds,
    })
}

/// The manifest in a folder; `None` if the folder is new or empty.
fn begun(folder: &Path) -> Result<Option<Manifest>> {
    if let Some(whole) = Manifest::read(&folder.join(INDEX))? {
        return Ok(Some(Manifest {
            next: None,
            ..whole
        }));
    }
    if let Some(part) = Manifest::read(&folder.join(PROGRESS))? {
        // Without the field it would seem finished.
        let next = Some(part.next.unwrap_or_default());
        return Ok(Some(Manifest { next, ..part }));
    }
    let foreign = match std::fs::read_dir(folder) {
        Ok(entries) => entries
            .flatten()
            .any(|entry| !entry.file_name().to_string_lossy().starts_with(".albert-")),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => false,
        Err(error) => return Err(Error::io(folder)(error)),
    };
    match foreign {
        true => Err(Error::shards(
            folder,
            "is not empty and holds no corpus; name another folder",
        )),
        false => Ok(None),
    }
}

/// Refuses to go on with other options. The inputs are looked at elsewhere.
fn same_setup(folder: &Path, was: &Setup, now: &Setup) -> Result<()> {
    let changed = |what: &str, was: String, now: String| {
        let message = format!(
            "the corpus there was begun with {what} {was}, not {now}; give the same, or build into \
             another folder"
        );
        Err(Error::shards(folder, message))
    };
    let number = |limit: Option<u64>| limit.map_or("none".to_owned(), |limit| limit.to_string());
    if was.tokenizer != now.tokenizer || was.vocab_size != now.vocab_size {
        let shown = |setup: &Setup| format!("{:016x}", setup.tokenizer);
        return changed("another tokenizer: checksum", shown(was), shown(now));
    }
    if was.shard_bytes != now.shard_bytes {
        let (was, now) = (was.shard_bytes.to_string(), now.shard_bytes.to_string());
        return changed("bytes a shard", was, now);
    }
    if was.max_bytes != now.max_bytes {
        return changed(
            "a limit for each file (bytes)",
            number(was.max_bytes),
            number(now.max_bytes),
        );
    }
    if was.drop_markup != now.drop_markup {
        let shown = |dropped| if dropped { "left out" } else { "kept" }.to_owned();
        return changed(
            "documents of markup",
            shown(was.drop_markup),
            shown(now.drop_markup),
        );
    }
    Ok(())
}

/// A shard that is being saved, with the counts and the place behind it.
type Saving<'scope> = (ScopedJoinHandle<'scope, Result<ShardEntry>>, Counts, Place);

/// Gathers documents into shards. A full one is saved by a thread of its own while the next fills.
struct Builder<'scope, 'env> {
    folder: &'env Path,
    /// What is safe on the disk.
    manifest: Manifest,
    counts: Counts,
    filling: Filling,
    saving: Option<Saving<'scope>>,
    scope: &'scope Scope<'scope, 'env>,
}

impl Builder<'_, '_> {
    fn take(&mut self, done: &Done) -> Result<()> {
        let is_saved = |(thread, ..): &Saving<'_>| thread.is_finished();
        if self.saving.as_ref().is_some_and(is_saved) {
            self.saved()?;
        }
        let (mut piece, mut sentence) = (0, 0);
        for (document, &(bytes, fate)) in (done.first..).zip(&done.fates) {
            self.counts.bytes += bytes;
            match fate {
                Fate::Duplicate => self.counts.duplicates += 1,
                Fate::NearEmpty => self.counts.near_empty += 1,
                Fate::Markup => self.counts.markup += 1,
                Fate::Kept { sentences, pieces } => {
                    self.filling.push(
                        &done.pieces[piece..piece + pieces],
                        &done.sentence_lens[sentence..sentence + sentences],
                    );
                    piece += pieces;
                    sentence += sentences;
                    self.counts.documents += 1;
                    self.counts.sentences += sentences as u64;
                    self.counts.pieces += pieces as u64;
                }
            }
            if self.filling.bytes() >= self.manifest.setup.shard_bytes {
                let (file, documents) = (done.file, document + 1);
                self.save(Place { file, documents })?;
            }
        }
        Ok(())
    }

    fn save(&mut self, next: Place) -> Result<()> {
        self.saved()?;
        let setup = &self.manifest.setup;
        let tokenizer = setup.tokenizer;
        let full = std::mem::replace(&mut self.filling, Filling::new(setup));
        let name = super::format::shard_name(self.manifest.shards.len());
        let folder = self.folder;
        let saving = self.scope.spawn(move || full.save(folder, name, tokenizer));
        self.saving = Some((saving, self.counts, next));
        Ok(())
    }

    /// Waits for the shard that is being saved, and notes it down.
    fn saved(&mut self) -> Result<()> {
        let Some((saving, counts, next)) = self.saving.take() else {
            return Ok(());
        };
        let entry = saving.join().unwrap_or_else(|_| {
            let message = "the thread that writes shards failed, which is a bug";
            Err(Error::shards(self.folder, message))
        })?;
        self.manifest.shards.push(entry);
        self.manifest.counts = counts;
        self.manifest.next = Some(next);
        self.manifest.write(&self.folder.join(PROGRESS))
    }

    fn finish(mut self, paths: &[PathBuf]) -> Result<Manifest> {
        if !self.filling.is_empty() {
            self.save(Place {
                file: paths.len(),
                documents: 0,
            })?;
        }
        self.saved()?;
        if self.counts.documents == 0 {
            return Err(Error::EmptyCorpus {
                paths: paths.to_vec(),
            });
        }
        self.manifest.counts = self.counts;
        self.manifest.next = None;
        self.manifest.write(&self.folder.join(INDEX))?;
        // Only untidy if it stays: the index comes first.
        let _ = std::fs::remove_file(self.folder.join(PROGRESS));
        Ok(self.manifest)
    }
}
