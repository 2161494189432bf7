//! `config.json`: what is honoured, what is refused, and by which name.

mod common;

use std::path::Path;

use albert_checkpoint::{
    Activation, AlbertConfig, Architecture, Error, LayerModule, PRESETS, ProblemType, Result,
};
use common::assert_says;
use proptest::prelude::*;
use serde_json::{Value, json};

/// A file of transformers 4 with the bookkeeping that was common over the years.
fn transformers() -> Value {
    json!({
        "_name_or_path": "somewhere/albert",
        "architectures": ["AlbertForSequenceClassification"],
        "attention_probs_dropout_prob": 0,
        "bos_token_id": 2,
        "classifier_dropout_prob": 0.1,
        "down_scale_factor": 1,
        "embedding_size": 128,
        "eos_token_id": 3,
        "finetuning_task": "sst-2",
        "gap_size": 0,
        "hidden_act": "gelu_new",
        "hidden_dropout_prob": 0.25,
        "hidden_size": 768,
        "id2label": {"0": "negative", "1": "neutral", "2": "positive"},
        "initializer_range": 0.02,
        "inner_group_num": 1,
        "intermediate_size": 3072,
        "label2id": {"negative": 0, "neutral": 1, "positive": 2},
        "layer_norm_eps": 1e-12,
        "max_position_embeddings": 512,
        "model_type": "albert",
        "net_structure_type": 0,
        "num_attention_heads": 12,
        "num_hidden_groups": 1,
        "num_hidden_layers": 12,
        "num_memory_blocks": 0,
        "output_past": true,
        "pad_token_id": 0,
        "position_embedding_type": "absolute",
        "problem_type": "single_label_classification",
        "torch_dtype": "float32",
        "transformers_version": "4.57.1",
        "type_vocab_size": 2,
        "use_cache": true,
        "vocab_size": 30000
    })
}

fn read(value: &Value) -> Result<AlbertConfig> {
    AlbertConfig::from_json(Path::new("folder/config.json"), &value.to_string())
}

fn with(field: &str, value: Value) -> Value {
    let mut file = transformers();
    file[field] = value;
    file
}

fn without(fields: &[&str]) -> Value {
    let mut file = transformers();
    for field in fields {
        file.as_object_mut().unwrap().shift_remove(*field);
    }
    file
}

#[test]
fn every_field_of_transformers_is_read() {
    let mut expected = AlbertConfig::preset("base")
        .unwrap()
        .with_architecture(Architecture::SequenceClassification);
    expected.hidden_dropout_prob = 0.25;
    expected.id2label = ["negative", "neutral", "positive"]
        .map(str::to_owned)
        .to_vec();
    expected.problem_type = Some(ProblemType::SingleLabel);
    assert_eq!(read(&transformers()).unwrap(), expected);

    // Every field that changes the model, moved off its default.
    let mut file = transformers();
    for (field, value) in [
        ("architectures", json!(["AlbertForTokenClassification"])),
        ("attention_probs_dropout_prob", json!(0.125)),
        ("bos_token_id", json!(5)),
        ("classifier_dropout_prob", json!(0.5)),
        ("early_exits", json!(true)),
        ("embedding_size", json!(10)),
        ("eos_token_id", json!(6)),
        ("hidden_act", json!("silu")),
        ("hidden_dropout_prob", json!(0.0625)),
        ("hidden_size", json!(14)),
        ("initializer_range", json!(0.5)),
        ("inner_group_num", json!(3)),
        ("int8_skip_modules", json!(["ffn_output", "attention"])),
        ("intermediate_size", json!(15)),
        ("layer_norm_eps", json!(0.25)),
        ("max_position_embeddings", json!(16)),
        ("num_attention_heads", json!(7)),
        ("num_hidden_groups", json!(2)),
        ("num_hidden_layers", json!(8)),
        ("pad_token_id", json!(1)),
        ("problem_type", json!("regression")),
        ("type_vocab_size", json!(4)),
        ("vocab_size", json!(17)),
    ] {
        file[field] = value;
    }
    let expected = AlbertConfig {
        architecture: Architecture::TokenClassification,
        vocab_size: 17,
        embedding_size: 10,
        hidden_size: 14,
        num_hidden_layers: 8,
        num_hidden_groups: 2,
        num_attention_heads: 7,
        intermediate_size: 15,
        inner_group_num: 3,
        hidden_act: Activation::Silu,
        hidden_dropout_prob: 0.0625,
        attention_probs_dropout_prob: 0.125,
        classifier_dropout_prob: 0.5,
        max_position_embeddings: 16,
        type_vocab_size: 4,
        initializer_range: 0.5,
        layer_norm_eps: 0.25,
        pad_token_id: 1,
        bos_token_id: 5,
        eos_token_id: 6,
        id2label: expected.id2label,
        problem_type: Some(ProblemType::Regression),
        early_exits: true,
        int8_skip_modules: vec![LayerModule::FfnOutput, LayerModule::Attention],
    };
    assert_eq!(read(&file).unwrap(), expected);
}

#[test]
fn googles_own_file_is_read() {
    let google = json!({
        "attention_probs_dropout_prob": 0, "hidden_act": "gelu", "hidden_dropout_prob": 0,
        "embedding_size": 128, "hidden_size": 1024, "initializer_range": 0.02,
        "intermediate_size": 4096, "max_position_embeddings": 512, "num_attention_heads": 16,
        "num_hidden_layers": 24, "num_hidden_groups": 1, "net_structure_type": 0, "gap_size": 0,
        "num_memory_blocks": 0, "inner_group_num": 1, "down_scale_factor": 1,
        "type_vocab_size": 2, "ln_type": "postln", "vocab_size": 30000
    });
    let mut expected = AlbertConfig::preset("large")
        .unwrap()
        .with_architecture(Architecture::Base);
    expected.hidden_act = Activation::Gelu;
    assert_eq!(read(&google).unwrap(), expected);
}

#[test]
fn a_field_that_cannot_be_honoured_is_refused_by_name() {
    let cases = [
        ("architectures", json!(["BertModel"]), "\"BertModel\""),
        (
            "architectures",
            json!(["AlbertModel", "AlbertForMaskedLM"]),
            "2 classes",
        ),
        ("architectures", json!("AlbertModel"), "list of names"),
        ("architectures", json!([7]), "list of names"),
        ("int8_skip_modules", json!("ffn"), "list of names"),
        ("int8_skip_modules", json!([null]), "list of names"),
        ("int8_skip_modules", json!(["ffn", "pooler"]), "\"pooler\""),
        ("model_type", json!("bert"), "\"bert\""),
        ("model_type", json!(1), "\"albert\""),
        ("hidden_act", json!("mish"), "\"mish\""),
        ("hidden_act", json!(3), "must be a name"),
        ("net_structure_type", json!(1), "only 0"),
        ("gap_size", json!(2), "only 0"),
        ("num_memory_blocks", json!(1), "only 0"),
        ("down_scale_factor", json!(2), "only 1"),
        ("ln_type", json!("preln"), "\"postln\""),
        (
            "position_embedding_type",
            json!("relative_key"),
            "\"absolute\"",
        ),
        ("is_decoder", json!(true), "only false"),
        ("add_cross_attention", json!(true), "only false"),
        ("is_encoder_decoder", json!(true), "only false"),
        ("pruned_heads", json!({"0": [1]}), "only {}"),
        ("quantization_config", json!({"bits": 4}), "quantised"),
        ("tie_word_embeddings", json!("yes"), "true or false"),
        ("vocab_size", json!(0), "at least 1"),
        ("vocab_size", json!(-5), "not -5"),
        ("vocab_size", json!(1.5), "not 1.5"),
        ("vocab_size", json!("30000"), "not \"30000\""),
        ("vocab_size", json!(null), "not null"),
        ("vocab_size", json!(u64::MAX), "at most"),
        ("embedding_size", json!(0), "at least 1"),
        ("hidden_size", json!(0), "at least 1"),
        ("hidden_size", json!(2_000_000_004u64), "too large"),
        ("num_hidden_layers", json!(0), "at least 1"),
        ("num_hidden_layers", json!(1_000_000), "at most"),
        ("num_hidden_groups", json!(0), "at least 1"),
        ("num_hidden_groups", json!(13), "`num_hidden_layers` 12"),
        ("num_attention_heads", json!(0), "at least 1"),
        (
            "num_attention_heads",
            json!(11),
            "does not divide `hidden_size` 768",
        ),
        ("intermediate_size", json!(0), "at least 1"),
        ("intermediate_size", json!(2_000_000_000), "too large"),
        ("inner_group_num", json!(0), "at least 1"),
        ("inner_group_num", json!(1_000), "at most"),
        ("max_position_embeddings", json!(0), "at least 1"),
        ("type_vocab_size", json!(0), "at least 1"),
        ("pad_token_id", json!(30_000), "outside the vocabulary"),
        ("hidden_dropout_prob", json!(1.0), "below 1"),
        ("hidden_dropout_prob", json!("0.1"), "must be a number"),
        ("attention_probs_dropout_prob", json!(-0.1), "at least 0"),
        ("classifier_dropout_prob", json!(null), "must be a number"),
        ("initializer_range", json!(-1), "0 or more"),
        ("initializer_range", json!(1e300), "finite"),
        ("layer_norm_eps", json!(0), "above 0"),
        // Positive, but 0 in 32 bits.
        ("layer_norm_eps", json!(1e-60), "above 0"),
        ("layer_norm_eps", json!("NaN"), "must be a number"),
        ("problem_type", json!("ranking"), "\"ranking\""),
        ("num_labels", json!(2), "3 labels"),
        ("id2label", json!({}), "empty"),
        ("id2label", json!({"0": "a", "2": "b"}), "has the id 2"),
        ("id2label", json!({"0": "a", "one": "b"}), "has the id one"),
        ("id2label", json!({"0": 5}), "where a name should be"),
        ("id2label", json!(["a", "b"]), "must map ids"),
        (
            "label2id",
            json!({"negative": 0, "neutral": 2, "positive": 1}),
            "`id2label` has",
        ),
        (
            "label2id",
            json!({"negative": 0, "neutral": 1}),
            "lacks \"positive\"",
        ),
        (
            "label2id",
            json!({"negative": 0, "neutral": 1, "positive": 9}),
            "only 3 labels",
        ),
        (
            "label2id",
            json!({"negative": true}),
            "where an id should be",
        ),
        ("label2id", json!("x"), "must map names"),
    ];
    for (field, value, part) in cases {
        let mut file = with(field, value.clone());
        if field == "id2label" {
            file.as_object_mut().unwrap().shift_remove("label2id");
        }
        match read(&file) {
            Err(error @ Error::Field { .. }) => {
                let message = error.to_string();
                assert!(
                    message.starts_with(&format!("folder/config.json: `{field}` ")),
                    "{field} = {value}: {message}"
                );
                assert_says(&message, &[part]);
            }
            other => panic!("{field} = {value} gave {other:?}"),
        }
    }
}

#[test]
fn heads_of_two_outputs_need_two_labels() {
    for name in ["AlbertForQuestionAnswering", "AlbertForPreTraining"] {
        let error = read(&with("architectures", json!([name])))
            .unwrap_err()
            .to_string();
        assert_says(&error, &["`id2label` has 3 labels", name]);
    }
    assert_eq!(
        read(&with("architectures", json!(["AlbertForMultipleChoice"])))
            .unwrap()
            .num_labels(),
        3
    );
}

#[test]
fn a_decoder_of_its_own_is_refused_only_where_there_is_a_decoder() {
    let mut file = with("tie_word_embeddings", json!(false));
    read(&file).unwrap();
    file["architectures"] = json!(["AlbertForMaskedLM"]);
    assert_says(
        &read(&file).unwrap_err().to_string(),
        &["`tie_word_embeddings` is false"],
    );
}

#[test]
fn labels_come_from_whichever_map_is_there() {
    let names = |file: &Value| read(file).unwrap().id2label;
    let three = ["negative", "neutral", "positive"];
    assert_eq!(names(&without(&["label2id"])), three);
    assert_eq!(names(&without(&["id2label"])), three);
    let mut bare = without(&["id2label", "label2id"]);
    assert_eq!(names(&bare), ["LABEL_0", "LABEL_1"]);
    bare["num_labels"] = json!(4);
    assert_eq!(names(&bare), ["LABEL_0", "LABEL_1", "LABEL_2", "LABEL_3"]);
    bare["num_labels"] = json!(u64::MAX);
    assert_says(&read(&bare).unwrap_err().to_string(), &["`num_labels`"]);
    bare["num_labels"] = json!(0);
    assert_says(
        &read(&bare).unwrap_err().to_string(),
        &["`id2label` is empty"],
    );
    // Ids as text, as some older files have them.
    assert_eq!(
        names(&with(
            "label2id",
            json!({"negative": "0", "neutral": "1", "positive": "2"})
        )),
        three
    );
}

#[test]
fn a_file_that_is_not_albert_is_refused() {
    let bert = json!({"hidden_size": 768, "num_attention_heads": 12, "vocab_size": 30522});
    assert_says(
        &read(&bert).unwrap_err().to_string(),
        &["`model_type` is missing"],
    );

    for (text, parts) in [
        ("", vec!["config.json:1:0", "EOF"]),
        ("{\n \"hidden_size\": 768,\n}", vec!["config.json:3:1"]),
        ("[1]", vec!["expected an object"]),
        ("{\"layer_norm_eps\": NaN}", vec!["config.json:1:"]),
        (
            "{\"layer_norm_eps\": 1e999}",
            vec!["config.json:1:", "out of range"],
        ),
    ] {
        let error = AlbertConfig::from_json(Path::new("config.json"), text).unwrap_err();
        assert!(matches!(error, Error::Json { .. }), "{error:?}");
        assert_says(&error.to_string(), &parts);
    }
}

#[test]
fn names_of_activations_and_classes_read_back() {
    for activation in Activation::ALL {
        assert_eq!(activation.to_string().parse(), Ok(activation));
    }
    for architecture in Architecture::ALL {
        assert_eq!(architecture.to_string().parse(), Ok(architecture));
    }
    for problem in ProblemType::ALL {
        assert_eq!(problem.to_string().parse(), Ok(problem));
    }
    assert_eq!("swish".parse(), Ok(Activation::Silu));
}

/// The published counts of encoder and pooler (Lan et al. 2019, table 1, to the
/// parameter), and what is known by hand of the rest.
#[test]
fn presets_have_the_published_sizes() {
    for (name, encoder_and_pooler) in [
        ("base", 11_683_584),
        ("large", 17_683_968),
        ("xlarge", 58_724_864),
        ("xxlarge", 222_595_584),
    ] {
        for version in ["", "-v1", "-v2"] {
            let config = AlbertConfig::preset(&format!("{name}{version}"))
                .unwrap()
                .with_architecture(Architecture::Base);
            config.validate().unwrap();
            assert_eq!(
                config.parameter_count(),
                encoder_and_pooler,
                "{name}{version}"
            );
        }
    }
    // Pretraining adds the masked-LM head (V + 2E + HE + E) and the order head (2H + 2).
    let base = AlbertConfig::preset("base").unwrap();
    assert_eq!(
        base.parameter_count(),
        11_683_584 + 30_000 + 256 + 768 * 128 + 128 + 1538
    );

    let mini = AlbertConfig::preset("mini").unwrap();
    assert!(mini.parameter_count() < 6_000_000);
    assert_eq!(
        (
            mini.vocab_size,
            mini.hidden_size,
            mini.head_dim(),
            mini.num_hidden_layers
        ),
        (16_000, 384, 64, 4)
    );

    for name in PRESETS {
        AlbertConfig::preset(name).unwrap().validate().unwrap();
    }
    for name in ["", "tiny-v1", "mini-v2", "base-v3", "huge", "BASE"] {
        assert_eq!(AlbertConfig::preset(name), None, "{name}");
    }
    let dropout = |name| AlbertConfig::preset(name).unwrap().hidden_dropout_prob;
    assert_eq!(
        [dropout("base"), dropout("base-v1"), dropout("xxlarge-v1")],
        [0.0, 0.1, 0.0]
    );
}

#[test]
fn unshared_parameters_are_those_of_a_group_for_each_layer() {
    let mut config = AlbertConfig::preset("large").unwrap();
    config.inner_group_num = 2;
    config.num_hidden_groups = 3;
    let shared = config.parameter_counts();
    config.num_hidden_groups = config.num_hidden_layers;
    let unshared = config.parameter_counts();
    assert_eq!(shared.unshared_total, unshared.total);
    assert_eq!(shared.shared_layers, 6 * shared.block);
    assert_eq!(
        shared.total,
        shared.embeddings + shared.shared_layers + shared.heads
    );
    // Four H x H maps, two H x F maps, their biases and two layer norms.
    let (h, f) = (1024, 4096);
    assert_eq!(
        shared.block,
        4 * (h * h + h) + h * f + f + f * h + h + 4 * h
    );
}

/// Python's `int(i / (layers / groups))` for uneven splits.
#[test]
fn layers_fall_into_groups_as_in_transformers() {
    let groups = |layers, groups| -> Vec<usize> {
        let mut config = AlbertConfig::preset("base").unwrap();
        (config.num_hidden_layers, config.num_hidden_groups) = (layers, groups);
        (0..layers).map(|i| config.group_of_layer(i)).collect()
    };
    assert_eq!(groups(12, 1), [0; 12]);
    assert_eq!(groups(4, 2), [0, 0, 1, 1]);
    assert_eq!(groups(7, 3), [0, 0, 0, 1, 1, 2, 2]);
    assert_eq!(groups(5, 5), [0, 1, 2, 3, 4]);
}

prop_compose! {
    fn any_config()(
        architecture in prop::sample::select(Architecture::ALL.to_vec()),
        hidden_act in prop::sample::select(Activation::ALL.to_vec()),
        problem_type in prop::option::of(prop::sample::select(ProblemType::ALL.to_vec())),
        (heads, head_dim, layers, inner) in (1usize..5, 1usize..40, 1usize..9, 1usize..3),
        sizes in prop::array::uniform5(1usize..5000),
        labels in prop::collection::hash_set(".{0,8}", 1..6),
        reals in prop::array::uniform3(0.0f32..1.0),
        (range, eps) in (0.0f32..10.0, 1e-30f32..1.0),
    ) -> AlbertConfig {
        let two = matches!(architecture, Architecture::QuestionAnswering | Architecture::PreTraining);
        AlbertConfig {
            architecture, hidden_act, problem_type, early_exits: inner == 1,
            int8_skip_modules: LayerModule::ALL[..inner % 4].to_vec(),
            hidden_size: heads * head_dim,
            num_attention_heads: heads,
            num_hidden_layers: layers,
            num_hidden_groups: layers.div_ceil(2),
            inner_group_num: inner,
            vocab_size: sizes[0], embedding_size: sizes[1], intermediate_size: sizes[2],
            max_position_embeddings: sizes[3], type_vocab_size: sizes[4],
            hidden_dropout_prob: reals[0], attention_probs_dropout_prob: reals[1],
            classifier_dropout_prob: reals[2], initializer_range: range, layer_norm_eps: eps,
            pad_token_id: sizes[0] - 1, bos_token_id: 7, eos_token_id: 8,
            id2label: if two { AlbertConfig::default_labels(2) } else { labels.into_iter().collect() },
        }
    }
}

proptest! {
    #[test]
    fn what_is_written_reads_back(config in any_config()) {
        config.validate().unwrap();
        let read = AlbertConfig::from_json(Path::new("config.json"), &config.to_json()).unwrap();
        prop_assert_eq!(read, config);
    }

    /// Any value in any field gives a configuration or an error about a field.
    #[test]
    fn no_value_of_a_field_panics(
        field in 0usize..35,
        value in prop_oneof![
            any::<i64>().prop_map(|n| json!(n)),
            any::<u64>().prop_map(|n| json!(n)),
            any::<f64>().prop_map(|x| json!(x)),
            ".{0,12}".prop_map(|s| json!(s)),
            Just(json!(null)), Just(json!(true)), Just(json!([])), Just(json!({})),
            Just(json!({"0": "a"})), Just(json!([null])),
        ],
    ) {
        let mut file = transformers();
        let fields = file.as_object_mut().unwrap();
        let name = fields.keys().nth(field % fields.len()).unwrap().clone();
        fields.insert(name, value);
        match read(&file) {
            Ok(config) => {
                config.validate().unwrap();
                prop_assert!(config.parameter_count() > 0);
            }
            Err(error) => prop_assert!(matches!(error, Error::Field { .. }), "{:?}", error),
        }
    }
}

/// Label maps are held against each other in one pass, and bounded.
#[test]
fn many_labels_are_read_quickly_or_refused() {
    let file = |labels: usize| {
        let ids: serde_json::Map<_, _> = (0..labels)
            .map(|id| (id.to_string(), json!(format!("label {id}"))))
            .collect();
        let names: serde_json::Map<_, _> = (0..labels)
            .map(|id| (format!("label {id}"), json!(id)))
            .collect();
        let mut file = transformers();
        file["id2label"] = ids.into();
        file["label2id"] = names.into();
        file
    };
    let start = std::time::Instant::now();
    assert_eq!(read(&file(50_000)).unwrap().num_labels(), 50_000);
    // One name at a time this took 2.5 billion comparisons.
    assert!(start.elapsed().as_secs() < 5, "{:?}", start.elapsed());
    let error = read(&file((1 << 20) + 1)).unwrap_err().to_string();
    assert_says(&error, &["label", "at most 1048576"]);
}
