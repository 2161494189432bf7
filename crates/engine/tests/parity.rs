//! Every output against transformers 4.57.1, on the configurations of `golden/engine/generate.py`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use albert_engine::{Batch, Checkpoint, Engine, EngineOptions, Outputs, What};
use safetensors::SafeTensors;

/// Allowed difference, in units of the reference output's range over all its rows. PyTorch's own
/// f32 is within 2e-6 of exact arithmetic on these models; two such sums may differ by twice that,
/// and the rest is room for other processors' order of summation.
const TOLERANCE: f32 = 1e-5;

fn cases() -> Vec<PathBuf> {
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../golden/engine");
    let mut cases: Vec<PathBuf> = std::fs::read_dir(golden)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.is_dir())
        .collect();
    cases.sort();
    cases
}

/// A case's reference outputs by name, each a list over the rows.
struct Expected(BTreeMap<String, Vec<Vec<f32>>>, Vec<(Vec<u32>, Vec<u32>)>);

impl Expected {
    fn read(folder: &Path) -> Self {
        let bytes = std::fs::read(folder.join("expected.safetensors")).unwrap();
        let file = SafeTensors::deserialize(&bytes).unwrap();
        let ids = |name: &str, row: usize| -> Vec<u32> {
            let tensor = file.tensor(&format!("{name}.{row}")).unwrap();
            let words = tensor.data().chunks_exact(8);
            words
                .map(|b| u32::try_from(i64::from_le_bytes(b.try_into().unwrap())).unwrap())
                .collect()
        };
        let mut count = 0;
        while file.tensor(&format!("input_ids.{count}")).is_ok() {
            count += 1;
        }
        let rows = (0..count)
            .map(|i| (ids("input_ids", i), ids("token_type_ids", i)))
            .collect();
        let mut outputs: BTreeMap<String, Vec<Vec<f32>>> = BTreeMap::new();
        for name in file.names() {
            let (output, row) = name.rsplit_once('.').unwrap();
            if output.ends_with("ids") {
                continue;
            }
            let values = file.tensor(name).unwrap().data().chunks_exact(4);
            let values = values
                .map(|b| f32::from_le_bytes(b.try_into().unwrap()))
                .collect();
            let rows = outputs
                .entry(output.to_string())
                .or_insert(vec![Vec::new(); count]);
            rows[row.parse::<usize>().unwrap()] = values;
        }
        Expected(outputs, rows)
    }
}

/// The part of row `i` of one of transformers' outputs, by its name there.
fn output<'a>(outputs: &'a Outputs, name: &str, i: usize) -> &'a [f32] {
    let all: &Vec<f32> = match name.split_once('.') {
        Some(("hidden_states", layer)) => &outputs.hidden_states[layer.parse::<usize>().unwrap()],
        _ => match name {
            "last_hidden_state" => &outputs.last_hidden_state,
            "pooler_output" => &outputs.pooled,
            "prediction_logits" => &outputs.masked_lm_logits,
            "sop_logits" => &outputs.sentence_order_logits,
            "start_logits" => &outputs.start_logits,
            "end_logits" => &outputs.end_logits,
            "logits" => [
                &outputs.masked_lm_logits,
                &outputs.sequence_logits,
                &outputs.token_logits,
                &outputs.choice_logits,
            ]
            .into_iter()
            .find(|logits| logits.is_some())
            .expect("a head's logits"),
            other => panic!("transformers' output {other} is not known"),
        }
        .as_ref()
        .unwrap_or_else(|| panic!("{name} was not computed")),
    };
    let of_row = matches!(name, "pooler_output" | "sop_logits")
        || outputs.sequence_logits.is_some() && name == "logits"
        || outputs.choice_logits.is_some() && name == "logits";
    if of_row {
        let width = all.len() / outputs.rows.len();
        &all[i * width..][..width]
    } else {
        let width = all.len() / outputs.rows.last().unwrap().end;
        &all[outputs.rows[i].start * width..outputs.rows[i].end * width]
    }
}

const EVERYTHING: What = What {
    hidden_states: true,
    last_hidden_state: true,
    pooled: true,
    head: true,
    masked_lm_positions: None,
    early_exit: None,
};

#[test]
fn every_output_of_every_configuration() {
    let cases = cases();
    assert!(cases.len() >= 12, "{} cases", cases.len());
    let mut worst_of_all: f32 = 0.0;
    for folder in cases {
        let case = folder.file_name().unwrap().to_string_lossy().into_owned();
        let checkpoint = Checkpoint::open(&folder).unwrap();
        let engine = Engine::load(
            &checkpoint,
            EngineOptions {
                threads: Some(2),
                ..EngineOptions::default()
            },
        )
        .unwrap();
        let Expected(expected, rows) = Expected::read(&folder);
        let mut batch = Batch::new();
        for (ids, types) in &rows {
            batch.push(ids, Some(types)).unwrap();
        }
        let outputs = engine.forward(&batch, &EVERYTHING).unwrap();
        let layers = engine.config().num_hidden_layers;
        assert_eq!(outputs.hidden_states.len(), layers + 1);
        assert!(
            expected.contains_key(&format!("hidden_states.{layers}")),
            "{case}"
        );
        assert_eq!(
            outputs.pooled.is_some(),
            expected.contains_key("pooler_output"),
            "{case}"
        );

        for (name, rows) in &expected {
            let values = || rows.iter().flatten().copied();
            let range = values().fold(f32::MIN, f32::max) - values().fold(f32::MAX, f32::min);
            assert!(range > 0.0, "{case}: {name} is constant");
            for (i, expected) in rows.iter().enumerate() {
                let got = output(&outputs, name, i);
                assert_eq!(got.len(), expected.len(), "{case}: {name}.{i}");
                for (got, expected) in got.iter().zip(expected) {
                    let error = (got - expected).abs() / range;
                    assert!(
                        error <= TOLERANCE,
                        "{case}: {name}.{i} is {got}, not {expected}"
                    );
                    worst_of_all = worst_of_all.max(error);
                }
            }
        }
    }
    println!("largest difference: {worst_of_all:e} of the output's range");
}

#[test]
fn masked_lm_at_chosen_positions() {
    for case in ["masked_lm", "pretraining"] {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("../../golden/engine")
            .join(case);
        let checkpoint = Checkpoint::open(&folder).unwrap();
        let engine = Engine::load(&checkpoint, EngineOptions::default()).unwrap();
        let mut batch = Batch::new();
        batch.push(&[2, 9, 4, 3], None).unwrap();
        batch.push(&[2, 4, 8, 4, 3], None).unwrap();
        let all = engine
            .forward(&batch, &EVERYTHING)
            .unwrap()
            .masked_lm_logits
            .unwrap();
        let what = What {
            head: true,
            masked_lm_positions: Some(vec![7, 2, 5]),
            ..What::default()
        };
        let some = engine
            .forward(&batch, &what)
            .unwrap()
            .masked_lm_logits
            .unwrap();
        let vocab = engine.config().vocab_size;
        for (logits, position) in some.chunks(vocab).zip([7, 2, 5]) {
            assert_eq!(logits, &all[position * vocab..][..vocab]);
        }
        let none = What {
            masked_lm_positions: Some(Vec::new()),
            ..what
        };
        assert_eq!(
            engine.forward(&batch, &none).unwrap().masked_lm_logits,
            Some(Vec::new())
        );
    }
}

#[test]
fn only_what_was_asked_for() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../golden/engine/pretraining");
    let engine = Engine::load(
        &Checkpoint::open(&folder).unwrap(),
        EngineOptions::default(),
    )
    .unwrap();
    let mut batch = Batch::new();
    batch.push(&[2, 3], None).unwrap();
    let nothing = engine.forward(&batch, &What::default()).unwrap();
    assert_eq!(
        nothing,
        Outputs {
            rows: std::iter::once(0..2).collect(),
            ..Outputs::default()
        }
    );
    let head = engine
        .forward(
            &batch,
            &What {
                head: true,
                ..What::default()
            },
        )
        .unwrap();
    assert!(head.pooled.is_none() && head.sentence_order_logits.is_some());
    let empty = engine.forward(&Batch::new(), &EVERYTHING).unwrap();
    assert_eq!(empty.last_hidden_state, Some(Vec::new()));
}
