//! Weight files: every name that ALBERT's tensors have had, and every format.

mod common;

use std::fs;

use albert_checkpoint::{AlbertConfig, Architecture, DType, Error, inspect};
use common::{
    Raw, assert_holds, assert_says, folder, folder_of_files, message, open, small, tensors,
    with_header,
};
use half::{bf16, f16};

const WORDS: &str = "albert.embeddings.word_embeddings.weight";

fn renamed(config: &AlbertConfig, rename: impl Fn(&str) -> String) -> Vec<Raw> {
    let tensors = tensors(config).into_iter();
    tensors
        .map(|raw| Raw {
            name: rename(&raw.name),
            ..raw
        })
        .collect()
}

#[test]
fn every_architecture_opens_under_every_spelling() {
    let as_is = |name: &str| name.to_owned();
    let bare = |name: &str| name.trim_start_matches("albert.").to_owned();
    let tensorflow = |name: &str| match name.rsplit_once("LayerNorm.") {
        Some((front, "weight")) => format!("{front}LayerNorm.gamma"),
        Some((front, _)) => format!("{front}LayerNorm.beta"),
        None => name
            .replace("_norm.weight", "_norm.gamma")
            .replace("_norm.bias", "_norm.beta"),
    };
    for architecture in Architecture::ALL {
        let mut config = small(architecture);
        config.num_hidden_groups = 3;
        config.inner_group_num = 2;
        for rename in [&as_is as &dyn Fn(&str) -> String, &bare, &tensorflow] {
            let dir = folder(&config, &renamed(&config, rename));
            let checkpoint = open(&dir).unwrap();
            assert_holds(&checkpoint, &config);
            assert!(checkpoint.unused().is_empty() && checkpoint.notes().is_empty());
        }
    }
}

#[test]
fn each_architecture_needs_its_tensors_and_no_others() {
    let pretraining = small(Architecture::PreTraining);
    for (architecture, missing, unused) in [
        (Architecture::Base, "", "predictions.bias"),
        (Architecture::MaskedLm, "", "albert.pooler.bias"),
        (
            Architecture::SequenceClassification,
            "classifier.weight",
            "",
        ),
        (Architecture::TokenClassification, "classifier.weight", ""),
        (Architecture::MultipleChoice, "classifier.weight", ""),
        (Architecture::QuestionAnswering, "qa_outputs.bias", ""),
    ] {
        let config = small(architecture);
        let dir = folder(&config, &tensors(&pretraining));
        match open(&dir) {
            Ok(checkpoint) => {
                assert_eq!(missing, "");
                assert!(checkpoint.unused().iter().any(|name| name == unused));
                assert!(checkpoint.tensor(unused).is_err());
            }
            Err(error) => {
                assert_says(&error.to_string(), &[architecture.name(), missing]);
                assert_ne!(missing, "");
            }
        }
    }
}

#[test]
fn a_multiple_choice_classifier_has_one_output_whatever_the_labels() {
    let mut config = small(Architecture::MultipleChoice);
    config.id2label = AlbertConfig::default_labels(4);
    let checkpoint = open(&folder(&config, &tensors(&config))).unwrap();
    assert_eq!(
        checkpoint.tensor("classifier.weight").unwrap().shape,
        [1, 8]
    );
}

#[test]
fn every_missing_tensor_is_named() {
    let config = small(Architecture::MaskedLm);
    for parameter in config.parameters() {
        let mut tensors = tensors(&config);
        tensors.retain(|raw| raw.name != parameter.name);
        let dir = folder(&config, &tensors);
        match open(&dir) {
            Err(Error::Missing { tensors, .. }) => assert_eq!(tensors, [parameter.name]),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn a_tensor_of_the_wrong_shape_or_type_is_named() {
    let config = small(Architecture::Base);
    for i in 0..config.parameters().len() {
        let mut tensors = tensors(&config);
        tensors[i].shape.insert(0, 1);
        let name = tensors[i].name.clone();
        let error = message(open(&folder(&config, &tensors)));
        assert_says(
            &error,
            &[
                "model.safetensors",
                &name,
                "has the shape [1, ",
                "asks for [",
            ],
        );
    }
    for dtype in ["I32", "U32"] {
        let mut tensors = tensors(&config);
        tensors[3].dtype = dtype;
        let error = message(open(&folder(&config, &tensors)));
        assert_says(&error, &[&tensors[3].name, dtype, "F32, F16 or BF16"]);
    }
}

#[test]
fn tied_tensors_may_be_doubled_or_under_their_other_name() {
    let config = small(Architecture::PreTraining);
    let find = |tensors: &[Raw], name: &str| {
        tensors
            .iter()
            .find(|raw| raw.name == name)
            .cloned()
            .unwrap()
    };
    let copies = |tensors: &[Raw]| {
        [
            ("predictions.decoder.weight", WORDS),
            ("predictions.decoder.bias", "predictions.bias"),
        ]
        .map(|(copy, original)| Raw {
            name: copy.to_owned(),
            ..find(tensors, original)
        })
    };
    let plain = tensors(&config);

    let doubled = [plain.clone(), copies(&plain).to_vec()].concat();
    let checkpoint = open(&folder(&config, &doubled)).unwrap();
    assert_holds(&checkpoint, &config);
    assert!(checkpoint.unused().is_empty());

    let mut other_name = doubled.clone();
    other_name.retain(|raw| raw.name != WORDS && raw.name != "predictions.bias");
    assert_holds(&open(&folder(&config, &other_name)).unwrap(), &config);

    for (copy, original) in [
        ("predictions.decoder.weight", WORDS),
        ("predictions.decoder.bias", "predictions.bias"),
    ] {
        let mut different = doubled.clone();
        let tensor = different.iter_mut().find(|raw| raw.name == copy).unwrap();
        tensor.bytes[2] ^= 0x40;
        let error = message(open(&folder(&config, &different)));
        assert_says(&error, &[copy, "differs from", original]);

        tensor_of_shape(&mut different, copy, &[1]);
        assert_says(
            &message(open(&folder(&config, &different))),
            &[copy, "has the shape [1]"],
        );
    }

    // Without a masked-LM head the decoder is nobody's.
    let base = small(Architecture::Base);
    let checkpoint = open(&folder(&base, &doubled)).unwrap();
    assert!(
        checkpoint
            .unused()
            .contains(&"predictions.decoder.weight".to_owned())
    );
}

fn tensor_of_shape(tensors: &mut [Raw], name: &str, shape: &[usize]) {
    let numbers = vec![0.0; shape.iter().product()];
    for raw in tensors.iter_mut().filter(|raw| raw.name == name) {
        *raw = Raw::f32(name, shape, &numbers);
    }
}

#[test]
fn one_tensor_under_two_spellings_is_an_error() {
    let config = small(Architecture::Base);
    let mut twice = tensors(&config);
    twice.push(Raw {
        name: "pooler.bias".to_owned(),
        ..twice.last().cloned().unwrap()
    });
    let error = message(open(&folder(&config, &twice)));
    assert_says(
        &error,
        &["`pooler.bias`", "`albert.pooler.bias`", "another spelling"],
    );
}

#[test]
fn buffers_are_passed_over_and_strangers_listed() {
    let config = small(Architecture::Base);
    let mut more = tensors(&config);
    let ids = Raw {
        name: "albert.embeddings.position_ids".to_owned(),
        dtype: "I64",
        shape: vec![1, 6],
        bytes: vec![0; 48],
    };
    more.push(ids.clone());
    more.push(Raw::f32("module.albert.pooler.bias", &[2], &[1.0, 2.0]));
    more.push(Raw {
        name: "another".to_owned(),
        ..ids
    });
    let checkpoint = open(&folder(&config, &more)).unwrap();
    assert_eq!(
        checkpoint.unused(),
        ["another", "module.albert.pooler.bias"]
    );
}

#[test]
fn half_precision_is_read_exactly() {
    let config = small(Architecture::Base);
    let numbers: Vec<f32> = vec![
        0.0,
        -0.0,
        1.0,
        -2.5,
        65504.0,
        6e-8,
        f32::INFINITY,
        0.333_251_95,
    ];
    let as_f16 = |x: &f32| f16::from_f32(*x).to_le_bytes();
    let as_bf16 = |x: &f32| bf16::from_f32(*x).to_le_bytes();
    for (dtype, name, bytes, back) in [
        (
            DType::F16,
            "F16",
            numbers.iter().flat_map(as_f16).collect::<Vec<u8>>(),
            numbers
                .iter()
                .map(|x| f16::from_f32(*x).to_f32())
                .collect::<Vec<f32>>(),
        ),
        (
            DType::Bf16,
            "BF16",
            numbers.iter().flat_map(as_bf16).collect(),
            numbers
                .iter()
                .map(|x| bf16::from_f32(*x).to_f32())
                .collect(),
        ),
    ] {
        let mut tensors = tensors(&config);
        let bias = tensors
            .iter_mut()
            .find(|raw| raw.name == "albert.pooler.bias")
            .unwrap();
        (bias.dtype, bias.bytes) = (name, bytes);
        let dir = folder(&config, &tensors);
        let checkpoint = open(&dir).unwrap();
        let view = checkpoint.tensor("albert.pooler.bias").unwrap();
        assert_eq!((view.dtype, view.bytes().len()), (dtype, 16));
        assert_eq!(*view.to_f32(), back);
        let error = checkpoint.check_finite().unwrap_err().to_string();
        assert_says(&error, &["`albert.pooler.bias`", "not finite", "index 6"]);
        assert_eq!(
            inspect(dir.path()).unwrap().dtypes,
            [(DType::F32, 24), (dtype, 1)]
        );
    }
    open(&folder(&config, &tensors(&config)))
        .unwrap()
        .check_finite()
        .unwrap();
}

/// Numbers at an address that is no multiple of 4 are converted, not borrowed.
#[test]
fn unaligned_files_are_read() {
    let config = small(Architecture::Base);
    let aligned = common::safetensors(&tensors(&config));
    let length = u64::from_le_bytes(aligned[..8].try_into().unwrap()) as usize;
    for spaces in 0..4 {
        let header = std::str::from_utf8(&aligned[8..8 + length]).unwrap();
        let file = with_header(
            &format!("{header}{}", " ".repeat(spaces)),
            &aligned[8 + length..],
        );
        let dir = folder_of_files(&config.to_json(), &file);
        assert_holds(&open(&dir).unwrap(), &config);
    }
}

#[test]
fn an_architecture_that_is_not_named_is_told_by_the_tensors() {
    for architecture in Architecture::ALL {
        let config = small(architecture);
        let text = config
            .to_json()
            .replace("\"architectures\"", "\"stripped\"");
        let dir = folder_of_files(&text, &common::safetensors(&tensors(&config)));
        let checkpoint = open(&dir).unwrap();
        assert_holds(&checkpoint, &config);
        assert_says(
            &checkpoint.notes().join("\n"),
            &[architecture.name(), "`stripped`"],
        );
    }
    // What is refused for an architecture is refused for one that was guessed.
    let mut config = small(Architecture::QuestionAnswering);
    let weights = common::safetensors(&tensors(&config));
    config.id2label = AlbertConfig::default_labels(3);
    let text = config
        .to_json()
        .replace("\"architectures\"", "\"stripped\"");
    assert_says(
        &message(open(&folder_of_files(&text, &weights))),
        &["`id2label`", "3 labels"],
    );
}

#[test]
fn unknown_fields_and_defaults_are_noted_once() {
    let config = small(Architecture::Base);
    let weights = common::safetensors(&tensors(&config));
    let text = config.to_json().replacen(
        '{',
        "{\"new_trick\": 1, \"classifier_dropout\": null, \"torchscript\": false,",
        1,
    );
    let checkpoint = open(&folder_of_files(&text, &weights)).unwrap();
    assert_eq!(
        checkpoint.notes(),
        ["unknown fields in config.json, without effect here: `new_trick`, `classifier_dropout`"]
    );
    let text = config
        .to_json()
        .replace("\"inner_group_num\"", "\"use_cache\"");
    let checkpoint = open(&folder_of_files(&text, &weights)).unwrap();
    assert_eq!(
        checkpoint.notes(),
        ["`inner_group_num` is not given; transformers' default 1 holds"]
    );
}

#[test]
fn an_inspection_lists_every_fault_of_a_folder() {
    let config = small(Architecture::PreTraining);
    let mut tensors = tensors(&config);
    tensors.retain(|raw| !raw.name.contains("pooler"));
    tensors.push(Raw::f32("stranger", &[1], &[0.0]));
    tensors[0].shape.reverse();
    tensors[1].dtype = "I32";
    let (first, second) = (tensors[0].name.clone(), tensors[1].name.clone());
    let dir = folder(&config, &tensors);
    fs::write(dir.path().join("spiece.model"), b"").unwrap();

    let found = inspect(dir.path()).unwrap();
    assert!(!found.is_loadable());
    assert_eq!(
        found.missing,
        ["albert.pooler.weight", "albert.pooler.bias"]
    );
    assert_eq!(found.unused, ["stranger"]);
    assert_eq!(found.faults.len(), 2);
    assert_says(&found.faults[0], &[&first, "shape"]);
    assert_says(&found.faults[1], &[&second, "I32"]);
    assert_eq!(found.parameters.total, config.parameter_count());
    assert_eq!(found.tokenizer_file, Some(dir.path().join("spiece.model")));
    assert_eq!(
        found.config.architecture.heads(),
        ["pooler", "masked-LM", "sentence order"]
    );
    assert_eq!(
        found.bytes,
        fs::metadata(dir.path().join("model.safetensors"))
            .unwrap()
            .len()
    );
}

#[test]
fn a_tokenizer_json_wins_over_a_sentencepiece_model() {
    let config = small(Architecture::Base);
    let dir = folder(&config, &tensors(&config));
    let file = |dir: &tempfile::TempDir| {
        let file = open(dir).unwrap().tokenizer_file();
        file.map(|path| path.file_name().unwrap().to_owned())
    };
    assert_eq!(file(&dir), None);
    fs::write(dir.path().join("spiece.model"), b"").unwrap();
    assert_eq!(file(&dir).unwrap(), "spiece.model");
    fs::write(dir.path().join("tokenizer.json"), b"").unwrap();
    assert_eq!(file(&dir).unwrap(), "tokenizer.json");
}
