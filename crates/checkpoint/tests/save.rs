//! Saving: the same model back, whole files or none.

mod common;

use std::fs;

use albert_checkpoint::{
    AlbertConfig, Architecture, Checkpoint, DType, SaveTensor, save, write_atomic,
};
use common::{as_save, assert_says, listing, numbers, small};
use half::{bf16, f16};

#[test]
fn what_is_saved_opens_the_same() {
    let home = tempfile::tempdir().unwrap();
    for architecture in Architecture::ALL {
        let mut config = small(architecture);
        config.num_hidden_groups = 2;
        let numbers = numbers(&config);
        let mut tensors = as_save(&numbers);
        // The order in which tensors are given does not matter.
        tensors.reverse();
        for (dtype, round) in [
            (DType::F32, (|x| x) as fn(f32) -> f32),
            (DType::F16, |x| f16::from_f32(x).to_f32()),
            (DType::Bf16, |x| bf16::from_f32(x).to_f32()),
        ] {
            let dir = home.path().join(format!("new/{architecture}/{dtype}"));
            save(&dir, &config, &tensors, dtype, &[]).unwrap();
            assert_eq!(listing(&dir), ["config.json", "model.safetensors"]);
            assert_eq!(
                listing(dir.parent().unwrap())
                    .iter()
                    .filter(|n| n.starts_with('.'))
                    .count(),
                0
            );
            let checkpoint = Checkpoint::open(&dir).unwrap();
            assert_eq!(checkpoint.config(), &config);
            assert!(checkpoint.notes().is_empty() && checkpoint.unused().is_empty());
            for (name, shape, data) in &numbers {
                let view = checkpoint.tensor(name).unwrap();
                assert_eq!((view.shape, view.dtype), (shape.as_slice(), dtype));
                assert_eq!(
                    *view.to_f32(),
                    data.iter().map(|x| round(*x)).collect::<Vec<_>>()
                );
            }
        }
    }
}

/// The reference reader reads the file, under the names that transformers expects.
#[test]
fn the_safetensors_crate_reads_what_is_saved() {
    let home = tempfile::tempdir().unwrap();
    for (architecture, name) in [
        (Architecture::Base, "pooler.bias"),
        (Architecture::PreTraining, "albert.pooler.bias"),
    ] {
        let config = small(architecture);
        let dir = home.path().join(architecture.name());
        save(&dir, &config, &as_save(&numbers(&config)), DType::F32, &[]).unwrap();
        let file = fs::read(dir.join("model.safetensors")).unwrap();
        let (header, metadata) = safetensors::SafeTensors::read_metadata(&file).unwrap();
        assert_eq!(header % 8, 0);
        assert_eq!(metadata.metadata().as_ref().unwrap()["format"], "pt");
        let read = safetensors::SafeTensors::deserialize(&file).unwrap();
        assert_eq!(read.len(), config.parameters().len());
        assert_eq!(read.tensor(name).unwrap().shape(), [8]);
    }
}

#[test]
fn saving_over_a_checkpoint_replaces_it_and_leaves_other_files() {
    let home = tempfile::tempdir().unwrap();
    let dir = home.path().join("model");
    let config = small(Architecture::Base);
    let numbers = numbers(&config);
    save(&dir, &config, &as_save(&numbers), DType::F32, &[]).unwrap();
    fs::write(dir.join("notes.txt"), "kept").unwrap();
    fs::write(home.path().join("words"), "tokens").unwrap();

    // An opened checkpoint stays on the old numbers.
    let old = Checkpoint::open(&dir).unwrap();
    let before = old
        .tensor("albert.pooler.bias")
        .unwrap()
        .to_f32()
        .into_owned();
    let changed: Vec<_> = numbers
        .iter()
        .map(|(name, shape, data)| {
            (
                name.clone(),
                shape.clone(),
                data.iter().map(|x| x + 1.0).collect::<Vec<_>>(),
            )
        })
        .collect();
    let extra = [("tokenizer.json", home.path().join("words"))];
    let extra: Vec<_> = extra
        .iter()
        .map(|(name, path)| (*name, path.as_path()))
        .collect();
    save(&dir, &config, &as_save(&changed), DType::F32, &extra).unwrap();

    assert_eq!(*old.tensor("albert.pooler.bias").unwrap().to_f32(), before);
    let new = Checkpoint::open(&dir).unwrap();
    let after = new.tensor("albert.pooler.bias").unwrap().to_f32();
    assert!(
        after
            .iter()
            .zip(&before)
            .all(|(new, old)| *new == old + 1.0)
    );
    assert_eq!(
        listing(&dir),
        [
            "config.json",
            "model.safetensors",
            "notes.txt",
            "tokenizer.json"
        ]
    );
    // Also with a file of the folder itself as the source.
    let itself = dir.join("tokenizer.json");
    save(
        &dir,
        &config,
        &as_save(&numbers),
        DType::F16,
        &[("tokenizer.json", &itself)],
    )
    .unwrap();
    assert_eq!(fs::read_to_string(itself).unwrap(), "tokens");
}

#[test]
fn tensors_that_are_not_the_models_are_refused() {
    let home = tempfile::tempdir().unwrap();
    let dir = home.path().join("model");
    let config = small(Architecture::Base);
    let numbers = numbers(&config);
    let good = as_save(&numbers);
    let fails = |config: &AlbertConfig, tensors: &[SaveTensor<'_>], dtype, parts: &[&str]| {
        let error = save(&dir, config, tensors, dtype, &[])
            .unwrap_err()
            .to_string();
        assert_says(&error, parts);
        // Nothing is left, not even the folder or a temporary one.
        assert_eq!(listing(home.path()), Vec::<String>::new());
    };
    fails(
        &config,
        &good[1..],
        DType::F32,
        &[good[0].name, "is not given"],
    );
    let twice = [&good[..], &good[..1]].concat();
    fails(&config, &twice, DType::F32, &[good[0].name, "given twice"]);
    let extra = SaveTensor {
        name: "stranger",
        shape: &[1],
        data: &[0.0],
    };
    fails(
        &config,
        &[&good[..], &[extra]].concat(),
        DType::F32,
        &["`stranger`", "not a parameter"],
    );
    let mut wrong = good.clone();
    wrong[2].shape = &[1, 2];
    fails(
        &config,
        &wrong,
        DType::F32,
        &[good[2].name, "has the shape [1, 2]"],
    );
    let mut short = good.clone();
    short[2].data = &short[2].data[1..];
    fails(&config, &short, DType::F32, &[good[2].name, "numbers"]);
    let mut odd = config.clone();
    odd.num_attention_heads = 3;
    fails(&odd, &good, DType::F32, &["`num_attention_heads`"]);

    // A failure in the middle of writing: a number that f16 cannot hold.
    let mut large = numbers.clone();
    large[5].2[0] = 1e5;
    fails(
        &config,
        &as_save(&large),
        DType::F16,
        &[&large[5].0, "100000", "too large for f16"],
    );
    save(&dir, &config, &as_save(&large), DType::Bf16, &[]).unwrap();
    let error = save(&dir, &config, &as_save(&large), DType::F16, &[]).unwrap_err();
    assert_says(&error.to_string(), &["too large for f16"]);
    assert_eq!(listing(&dir), ["config.json", "model.safetensors"]);
    Checkpoint::open(&dir).unwrap();
}

#[test]
fn a_folder_that_cannot_be_written_is_named_and_left_alone() {
    let home = tempfile::tempdir().unwrap();
    let config = small(Architecture::Base);
    let numbers = numbers(&config);
    let tensors = as_save(&numbers);
    let file = home.path().join("file");
    fs::write(&file, "x").unwrap();

    let error = save(&file, &config, &tensors, DType::F32, &[])
        .unwrap_err()
        .to_string();
    assert_says(&error, &["file", "is a file"]);
    let error = save(&file.join("in"), &config, &tensors, DType::F32, &[]).unwrap_err();
    assert_says(&error.to_string(), &["cannot create", "file"]);

    let missing = home.path().join("missing");
    let dir = home.path().join("model");
    let error = save(&dir, &config, &tensors, DType::F32, &[("a", &missing)])
        .unwrap_err()
        .to_string();
    assert_says(&error, &["cannot read", "missing"]);
    for name in ["../a", "a/b", "config.json", "model.safetensors", ""] {
        let error = save(&dir, &config, &tensors, DType::F32, &[(name, &file)]).unwrap_err();
        assert_says(&error.to_string(), &["extra file"]);
    }
    assert_eq!(listing(home.path()), ["file"]);

    // The weights' place is taken by a folder: the rename fails.
    fs::create_dir_all(dir.join("model.safetensors/full")).unwrap();
    let error = save(&dir, &config, &tensors, DType::F32, &[])
        .unwrap_err()
        .to_string();
    assert_says(&error, &["cannot write", "model.safetensors"]);
    assert_eq!(listing(&dir), ["model.safetensors"]);
}

#[cfg(unix)]
#[test]
fn saved_files_have_ordinary_permissions() {
    use std::os::unix::fs::PermissionsExt;
    let home = tempfile::tempdir().unwrap();
    let plain = home.path().join("plain");
    fs::write(&plain, "").unwrap();
    let mode = |path: &std::path::Path| fs::metadata(path).unwrap().permissions().mode();
    let config = small(Architecture::Base);
    let dir = home.path().join("model");
    save(&dir, &config, &as_save(&numbers(&config)), DType::F32, &[]).unwrap();
    assert_eq!(mode(&dir.join("model.safetensors")), mode(&plain));
    assert_eq!(mode(&dir.join("config.json")), mode(&plain));
    let ordinary = home.path().join("ordinary");
    fs::create_dir(&ordinary).unwrap();
    assert_eq!(mode(&dir), mode(&ordinary));
}

#[test]
fn a_file_is_replaced_whole() {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("metrics.csv");
    write_atomic(&path, b"one").unwrap();
    write_atomic(&path, b"two").unwrap();
    assert_eq!(fs::read(&path).unwrap(), b"two");
    assert_eq!(listing(home.path()), ["metrics.csv"]);
    let error = write_atomic(&home.path().join("no/file"), b"")
        .unwrap_err()
        .to_string();
    assert_says(&error, &["cannot write", "no/file"]);
}
