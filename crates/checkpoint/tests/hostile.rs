//! Random damage to a valid folder: an error or the truth, never a panic.

mod common;

use std::fs;
use std::sync::LazyLock;

use albert_checkpoint::{AlbertConfig, Architecture, Checkpoint, inspect};
use common::{small, tensors};
use proptest::prelude::*;
use tempfile::TempDir;

static CONFIG: LazyLock<AlbertConfig> = LazyLock::new(|| {
    let mut config = small(Architecture::MaskedLm);
    config.num_hidden_layers = 1;
    config
});
static WEIGHTS: LazyLock<Vec<u8>> = LazyLock::new(|| common::safetensors(&tensors(&CONFIG)));

/// One random change to a file.
#[derive(Clone, Debug)]
enum Damage {
    Flip(prop::sample::Index, u8),
    Cut(prop::sample::Index),
    Insert(prop::sample::Index, Vec<u8>),
    Remove(prop::sample::Index, usize),
    Length(u64),
}

fn damage() -> impl Strategy<Value = Damage> {
    let place = any::<prop::sample::Index>;
    prop_oneof![
        4 => (place(), 1u8..).prop_map(|(at, mask)| Damage::Flip(at, mask)),
        1 => place().prop_map(Damage::Cut),
        2 => (place(), prop::collection::vec(any::<u8>(), 1..9))
            .prop_map(|(at, bytes)| Damage::Insert(at, bytes)),
        2 => (place(), 1usize..9).prop_map(|(at, count)| Damage::Remove(at, count)),
        1 => any::<u64>().prop_map(Damage::Length),
    ]
}

/// Applies a change within the first `reach` bytes, where the structure is.
fn apply(file: &mut Vec<u8>, damage: &Damage, reach: usize) {
    let reach = reach.min(file.len());
    if reach == 0 {
        return;
    }
    match damage {
        Damage::Flip(at, mask) => file[at.index(reach)] ^= mask,
        Damage::Cut(at) => {
            let length = file.len();
            file.truncate(at.index(length));
        }
        Damage::Insert(at, bytes) => {
            let at = at.index(reach);
            file.splice(at..at, bytes.iter().copied());
        }
        Damage::Remove(at, count) => {
            let at = at.index(reach);
            file.drain(at..(at + count).min(reach));
        }
        Damage::Length(length) => {
            let end = file.len().min(8);
            file[..end].copy_from_slice(&length.to_le_bytes()[..end]);
        }
    }
}

/// Reads everything there is to read.
fn read_all(dir: &TempDir) {
    let opened = Checkpoint::open(dir.path());
    let inspected = inspect(dir.path());
    match opened {
        Ok(checkpoint) => {
            let read: usize = checkpoint.tensors().map(|view| view.to_f32().len()).sum();
            assert_eq!(read, checkpoint.config().parameter_count());
            assert!(inspected.unwrap().is_loadable());
        }
        Err(error) => {
            assert!(!error.to_string().is_empty());
            assert!(!inspected.is_ok_and(|found| found.is_loadable()));
        }
    }
}

proptest! {
    #[test]
    fn a_damaged_weight_file_is_refused_or_read(
        damages in prop::collection::vec(damage(), 1..4),
        whole in any::<bool>(),
    ) {
        let mut file = WEIGHTS.clone();
        let header = u64::from_le_bytes(file[..8].try_into().unwrap()) as usize + 8;
        for damage in &damages {
            apply(&mut file, damage, if whole { usize::MAX } else { header });
        }
        read_all(&common::folder_of_files(&CONFIG.to_json(), &file));
    }

    /// Damage that leaves the header JSON: another digit somewhere.
    #[test]
    fn a_lying_weight_file_is_refused_or_read(
        changes in prop::collection::vec((any::<prop::sample::Index>(), b'0'..=b'9'), 1..4),
    ) {
        let mut file = WEIGHTS.clone();
        let header = u64::from_le_bytes(file[..8].try_into().unwrap()) as usize + 8;
        let digits: Vec<usize> = (8..header).filter(|i| file[*i].is_ascii_digit()).collect();
        for (at, digit) in &changes {
            file[digits[at.index(digits.len())]] = *digit;
        }
        read_all(&common::folder_of_files(&CONFIG.to_json(), &file));
    }

    #[test]
    fn a_damaged_configuration_is_refused_or_read(
        damages in prop::collection::vec(damage(), 1..4),
    ) {
        let mut text = CONFIG.to_json().into_bytes();
        for damage in &damages {
            apply(&mut text, damage, usize::MAX);
        }
        let dir = common::folder_of_files("", &WEIGHTS);
        fs::write(dir.path().join("config.json"), text).unwrap();
        read_all(&dir);
    }
}
