//! `pytorch_model.bin` is read as PyTorch wrote it, and nothing in it is run.

use std::fs;
use std::path::{Path, PathBuf};

use albert_checkpoint::Checkpoint;

fn golden() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../golden/checkpoint/torch")
}

/// A folder with the reference configuration and this `pytorch_model.bin`.
fn folder(bin: &[u8]) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    fs::copy(golden().join("config.json"), dir.path().join("config.json")).unwrap();
    fs::write(dir.path().join("pytorch_model.bin"), bin).unwrap();
    dir
}

fn refusal(bin: &[u8]) -> String {
    let dir = folder(bin);
    Checkpoint::open(dir.path()).unwrap_err().to_string()
}

/// A stored ZIP archive, without checksums.
fn archive(files: &[(&str, &[u8])]) -> Vec<u8> {
    let (mut bytes, mut directory) = (Vec::new(), Vec::new());
    for (name, data) in files {
        let at = bytes.len() as u32;
        let size = (data.len() as u32).to_le_bytes();
        let sizes = [&crc32(data).to_le_bytes()[..], &size, &size].concat();
        let length = (name.len() as u16).to_le_bytes();
        let common = [
            &[20, 0, 0, 0, 0, 0, 0, 0, 0, 0][..],
            &sizes,
            &length,
            &[0, 0],
        ]
        .concat();
        bytes.extend_from_slice(b"PK\x03\x04");
        bytes.extend_from_slice(&common);
        bytes.extend_from_slice(name.as_bytes());
        bytes.extend_from_slice(data);
        directory.extend_from_slice(b"PK\x01\x02\x14\0");
        directory.extend_from_slice(&common);
        directory.extend_from_slice(&[0; 10]);
        directory.extend_from_slice(&at.to_le_bytes());
        directory.extend_from_slice(name.as_bytes());
    }
    let (start, length) = (bytes.len() as u32, directory.len() as u32);
    bytes.extend_from_slice(&directory);
    bytes.extend_from_slice(b"PK\x05\x06\0\0\0\0");
    let count = (files.len() as u16).to_le_bytes();
    bytes.extend_from_slice(&[count, count].concat());
    bytes.extend_from_slice(&[length.to_le_bytes(), start.to_le_bytes()].concat());
    bytes.extend_from_slice(&[0, 0]);
    bytes
}

fn crc32(data: &[u8]) -> u32 {
    let step = |crc: u32, &byte: &u8| {
        (0..8).fold(crc ^ u32::from(byte), |crc, _| {
            (crc >> 1) ^ (0xedb8_8320 & (crc & 1).wrapping_neg())
        })
    };
    !data.iter().fold(!0, step)
}

/// A pickle of one tensor: its storage's class and size, and its place, shape and strides.
fn pickle(class: &str, count: u8, offset: u8, shape: u8, stride: u8) -> Vec<u8> {
    let mut code =
        b"\x80\x02}X\x01\0\0\0wctorch._utils\n_rebuild_tensor_v2\n((X\x07\0\0\0storage".to_vec();
    code.extend_from_slice(format!("ctorch\n{class}\n").as_bytes());
    code.extend_from_slice(b"X\x01\0\0\x000X\x03\0\0\0cpuK");
    code.push(count);
    code.extend_from_slice(&[
        b't', b'Q', b'K', offset, b'K', shape, 0x85, b'K', stride, 0x85,
    ]);
    code.extend_from_slice(b"\x89ccollections\nOrderedDict\n)RtRs.");
    code
}

#[test]
fn tensors_are_those_of_safetensors_to_the_bit() {
    let read = |name: &str| {
        let dir = tempfile::tempdir().unwrap();
        for name in ["config.json", name] {
            fs::copy(golden().join(name), dir.path().join(name)).unwrap();
        }
        let checkpoint = Checkpoint::open(dir.path()).unwrap();
        (dir, checkpoint)
    };
    let (_one, torch) = read("pytorch_model.bin");
    let (_other, reference) = read("model.safetensors");
    assert_eq!(torch.config(), reference.config());
    assert_eq!(torch.tensors().count(), reference.tensors().count());
    for expected in reference.tensors() {
        let found = torch.tensor(expected.name).unwrap();
        assert_eq!((found.shape, found.dtype), (expected.shape, expected.dtype));
        assert!(found.bytes() == expected.bytes(), "{}", expected.name);
    }
}

/// A folder with the reference's shards and their index, which is to be spoilt.
fn sharded() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    fs::copy(golden().join("config.json"), dir.path().join("config.json")).unwrap();
    for file in fs::read_dir(golden().join("shards")).unwrap() {
        let file = file.unwrap();
        fs::copy(file.path(), dir.path().join(file.file_name())).unwrap();
    }
    dir
}

#[test]
fn shards_are_the_whole() {
    let dir = sharded();
    let shards = Checkpoint::open(dir.path()).unwrap();
    let whole = tempfile::tempdir().unwrap();
    for name in ["config.json", "pytorch_model.bin"] {
        fs::copy(golden().join(name), whole.path().join(name)).unwrap();
    }
    let whole = Checkpoint::open(whole.path()).unwrap();
    assert_eq!(shards.tensors().count(), whole.tensors().count());
    for expected in whole.tensors() {
        let found = shards.tensor(expected.name).unwrap();
        assert_eq!((found.shape, found.dtype), (expected.shape, expected.dtype));
        assert!(found.bytes() == expected.bytes(), "{}", expected.name);
    }
}

#[test]
fn shards_that_are_not_what_the_index_says_are_named() {
    let said = |dir: &Path| Checkpoint::open(dir).unwrap_err().to_string();
    let first = "pytorch_model-00001-of-00003.bin";
    let missing = sharded();
    fs::remove_file(missing.path().join(first)).unwrap();
    let message = said(missing.path());
    assert!(
        message.contains(first) && message.contains("pytorch_model.bin.index.json"),
        "{message}"
    );
    let swapped = sharded();
    let second = swapped.path().join("pytorch_model-00002-of-00003.bin");
    fs::copy(second, swapped.path().join(first)).unwrap();
    let message = said(swapped.path());
    assert!(
        message.contains(first) && message.contains("should be in this file"),
        "{message}"
    );
}

#[test]
fn what_would_run_is_refused_by_name() {
    let call = b"\x80\x02cos\nsystem\nX\x04\0\0\0true\x85R.";
    let message = refusal(&archive(&[("m/data.pkl", call)]));
    assert!(
        message.contains("calls os.system") && message.contains("pytorch_model.bin"),
        "{message}"
    );
    let build = b"\x80\x02cbuiltins\neval\n)\x81.";
    let message = refusal(&archive(&[("m/data.pkl", build)]));
    assert!(message.contains("instruction 0x81"), "{message}");
}

#[test]
fn lies_about_sizes_are_refused_by_tensor() {
    let with = |pickle: Vec<u8>, data: &[u8]| {
        refusal(&archive(&[("m/data.pkl", &pickle), ("m/data/0", data)]))
    };
    let data = [0; 16];
    for (pickle, said) in [
        (
            pickle("FloatStorage", 5, 0, 4, 1),
            "has 5 numbers in data/0, which has 16 bytes",
        ),
        (
            pickle("FloatStorage", 4, 1, 4, 1),
            "goes beyond the 4 numbers",
        ),
        (pickle("FloatStorage", 4, 0, 2, 2), "strides [2]"),
        (pickle("QInt8Storage", 4, 0, 4, 1), "QInt8Storage"),
    ] {
        let message = with(pickle, &data);
        assert!(
            message.contains("tensor `w`") && message.contains(said),
            "{message}"
        );
    }
    let message = refusal(&archive(&[(
        "m/data.pkl",
        &pickle("FloatStorage", 4, 0, 4, 1),
    )]));
    assert!(message.contains("data/0, which is not there"), "{message}");
    // Well-formed, it is only not the model's.
    let message = with(pickle("FloatStorage", 4, 0, 4, 1), &data);
    assert!(message.contains("missing"), "{message}");
    let message = refusal(b"\x80\x02\x8a\x0a");
    assert!(message.contains("before 1.6"), "{message}");
    let message = refusal(&archive(&[("m/other", b"")]));
    assert!(message.contains("no data.pkl"), "{message}");
}

#[test]
fn a_damaged_file_gives_an_error() {
    let whole = fs::read(golden().join("pytorch_model.bin")).unwrap();
    for length in (0..whole.len()).step_by(97) {
        let message = refusal(&whole[..length]);
        assert!(message.contains("pytorch_model.bin"), "{message}");
    }
    // A pickle cut anywhere, or with a byte changed.
    let pickle = pickle("FloatStorage", 4, 0, 4, 1);
    for length in 0..pickle.len() {
        let mut changed = pickle.clone();
        changed[length] ^= 0x55;
        for bytes in [&pickle[..length], &changed] {
            // The model's tensors are not there, so that nothing opens.
            refusal(&archive(&[("m/data.pkl", bytes), ("m/data/0", &[0; 16])]));
        }
    }
    // Tuples within tuples, each twice the one before.
    let mut deep = b"\x80\x02)".to_vec();
    for place in 0..60 {
        deep.extend_from_slice(&[b'q', place, b'h', place, 0x86]);
    }
    deep.push(b'.');
    let message = refusal(&archive(&[("m/data.pkl", &deep)]));
    assert!(message.contains("too deep"), "{message}");
}
