//! Folders that hold only what differs from another.

mod common;

use std::path::{Path, PathBuf};

use albert_checkpoint::{
    AlbertConfig, Architecture, Checkpoint, DType, SaveTensor, inspect, save, save_difference,
};

type Values = Vec<(String, Vec<usize>, Vec<f32>)>;

/// A small model with numbers of its own.
fn model(architecture: Architecture) -> (AlbertConfig, Values) {
    let config = common::small(architecture);
    let parameters = config.parameters().into_iter().enumerate();
    let values = parameters.map(|(i, spec)| {
        let values = (0..spec.elements()).map(|j| (i * 1000 + j) as f32 / 1024.0);
        let values = values.collect();
        (spec.name, spec.shape, values)
    });
    let values = values.collect();
    (config, values)
}

fn tensors(values: &Values) -> Vec<SaveTensor<'_>> {
    values
        .iter()
        .map(|(name, shape, data)| SaveTensor { name, shape, data })
        .collect()
}

/// A base, and a classifier on it that shares all but its pooler.
fn base_and_head(home: &Path) -> (Checkpoint, AlbertConfig, Values) {
    let dir = home.join("base");
    let (config, values) = model(Architecture::PreTraining);
    save(&dir, &config, &tensors(&values), DType::F32, &[]).unwrap();
    std::fs::write(dir.join("tokenizer.json"), "{}").unwrap();
    let base = Checkpoint::open(&dir).unwrap();
    let (config, mut values) = model(Architecture::SequenceClassification);
    for (name, _, values) in &mut values {
        if let Ok(same) = base.tensor(name) {
            *values = same.to_f32().into_owned();
        }
        if name.starts_with("albert.pooler") {
            values[0] += 1.0;
        }
    }
    (base, config, values)
}

#[test]
fn what_is_the_same_is_read_from_the_base() {
    let home = tempfile::tempdir().unwrap();
    let (base, config, values) = base_and_head(home.path());
    let dir = home.path().join("heads/first");
    save_difference(&dir, &base, &config, &tensors(&values), DType::F32, &[]).unwrap();
    let text = std::fs::read_to_string(dir.join("base.json")).unwrap();
    assert!(text.contains("\"base\": \"../../base\""), "{text}");
    assert!(!dir.join("model.safetensors").exists());

    let opened = Checkpoint::open(&dir).unwrap();
    assert_eq!(opened.config(), &config);
    let count = opened.tensors().count();
    assert_eq!(count, values.len());
    for (name, shape, values) in &values {
        let tensor = opened.tensor(name).unwrap();
        assert_eq!(tensor.shape, shape);
        assert!(*tensor.to_f32() == **values, "{name}");
    }
    assert!(opened.bytes() < base.bytes() / 2);
    let whole = |path: Option<PathBuf>| std::fs::canonicalize(path.unwrap()).unwrap();
    assert_eq!(whole(opened.tokenizer_file()), whole(base.tokenizer_file()));
    assert!(opened.unused().is_empty());
    let inspection = inspect(&dir).unwrap();
    assert!(inspection.is_loadable() && inspection.base.is_some());
    // What the base has and this architecture has not is not lent.
    assert!(opened.tensor("predictions.bias").is_err());

    // A second time into the same folder: the old files are replaced.
    save_difference(&dir, &base, &config, &tensors(&values), DType::F16, &[]).unwrap();
    assert!(Checkpoint::open(&dir).is_ok());
    let error = save(&dir, &config, &tensors(&values), DType::F32, &[]).unwrap_err();
    assert!(error.to_string().contains("base.json"), "{error}");
}

#[test]
fn a_base_that_is_another_or_gone_is_told() {
    let home = tempfile::tempdir().unwrap();
    let (base, config, values) = base_and_head(home.path());
    let dir = home.path().join("head");
    save_difference(&dir, &base, &config, &tensors(&values), DType::F32, &[]).unwrap();
    let refused = || Checkpoint::open(&dir).unwrap_err().to_string();

    let head = Checkpoint::open(&dir).unwrap();
    let second = home.path().join("second");
    let error = save_difference(&second, &head, &config, &tensors(&values), DType::F32, &[]);
    assert!(error.unwrap_err().to_string().contains("cannot be a base"));
    assert!(!second.exists());

    let (base_config, mut base_values) = model(Architecture::PreTraining);
    base_values[0].2[0] += 1.0;
    let base_dir = base.dir().to_path_buf();
    drop((base, head));
    save(
        &base_dir,
        &base_config,
        &tensors(&base_values),
        DType::F32,
        &[],
    )
    .unwrap();
    let message = refused();
    assert!(
        message.contains("`base`") && message.contains("not those"),
        "{message}"
    );

    std::fs::remove_dir_all(&base_dir).unwrap();
    let message = refused();
    assert!(message.contains("no such folder"), "{message}");

    std::fs::write(dir.join("base.json"), "{\"base\": \"../base\"}").unwrap();
    let message = refused();
    assert!(
        message.contains("base.json") && message.contains("checksum"),
        "{message}"
    );

    std::fs::write(
        dir.join("base.json"),
        "{\"base\": \".\", \"checksum\": \"\"}",
    )
    .unwrap();
    let message = refused();
    assert!(message.contains("has a base itself"), "{message}");
}
