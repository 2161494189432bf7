//! Words met before, and their pieces.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::{PoisonError, RwLock};

/// A piece of a remembered word; the span counts characters from the word's start.
#[derive(Debug)]
pub(crate) struct Known {
    pub id: u32,
    pub span: (u32, u32),
    pub surface: Option<Box<str>>,
}

/// Parts of the memory, each behind a lock of its own so that threads seldom meet.
const SHARDS: usize = 16;

/// Words a part holds at most: some 100,000 in all, 20 MB. In running text these are all but a few
/// in a hundred words, and the first ones met are mostly the frequent ones.
const WORDS_A_SHARD: usize = 6_400;

/// The longest word that is remembered, in bytes.
const WORD_BYTES: usize = 64;

/// Pieces by word.
type Words = HashMap<Box<str>, Box<[Known]>>;

/// Words whose pieces are known already. A word's pieces never change, so nothing is ever replaced,
/// and whether a word is remembered makes no difference to any result.
#[derive(Debug, Default)]
pub(crate) struct Memo {
    hasher: RandomState,
    shards: [RwLock<Words>; SHARDS],
}

impl Memo {
    /// Calls `visit` for each piece of `word`, found by `find` if they are not known yet.
    pub fn visit<E>(
        &self,
        word: &str,
        find: impl FnOnce() -> Result<Vec<Known>, E>,
        visit: impl FnMut(&Known),
    ) -> Result<(), E> {
        if word.len() > WORD_BYTES {
            find()?.iter().for_each(visit);
            return Ok(());
        }
        let shard = &self.shards[self.hasher.hash_one(word) as usize % SHARDS];
        // A thread that panicked while it held the lock left the map whole: inserts are one step.
        let words = shard.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = words.get(word) {
            known.iter().for_each(visit);
            return Ok(());
        }
        let full = words.len() >= WORDS_A_SHARD;
        drop(words);
        let known = find()?;
        known.iter().for_each(visit);
        if !full {
            let mut words = shard.write().unwrap_or_else(PoisonError::into_inner);
            words.insert(word.into(), known.into());
        }
        Ok(())
    }
}
