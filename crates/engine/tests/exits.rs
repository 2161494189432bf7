//! Rows that leave early are those, with those answers, that each layer's classifier alone says.

use std::path::Path;

use albert_checkpoint::{AlbertConfig, DType, SaveTensor};
use albert_engine::{Batch, Checkpoint, EarlyExit, Engine, EngineOptions, Precision, What};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

const DEPTH: usize = 6;

/// A golden checkpoint as `config` says, with the classifiers `exits`, a weight and a bias each.
fn engine(
    case: &str,
    change: impl Fn(&mut AlbertConfig),
    classifier: Option<&(Vec<f32>, Vec<f32>)>,
    exits: &[(Vec<f32>, Vec<f32>)],
    precision: Precision,
) -> Engine {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../golden/engine");
    let checkpoint = Checkpoint::open(&folder.join(case)).unwrap();
    let mut config = checkpoint.config().clone();
    change(&mut config);
    let values = |name: &str| match (name.strip_prefix("exits."), classifier) {
        (Some(rest), _) => {
            let (exit, part) = rest.split_once('.').unwrap();
            let (weight, bias) = &exits[exit.parse::<usize>().unwrap()];
            if part == "weight" { weight } else { bias }.clone()
        }
        (_, Some((weight, _))) if name == "classifier.weight" => weight.clone(),
        (_, Some((_, bias))) if name == "classifier.bias" => bias.clone(),
        _ => checkpoint.tensor(name).unwrap().to_f32().into_owned(),
    };
    let tensors: Vec<_> = config
        .parameters()
        .into_iter()
        .map(|spec| (values(&spec.name), spec.name, spec.shape))
        .collect();
    let home = tempfile::tempdir().unwrap();
    let dir = home.path().join("model");
    let tensors: Vec<SaveTensor<'_>> = tensors
        .iter()
        .map(|(data, name, shape)| SaveTensor { name, shape, data })
        .collect();
    albert_checkpoint::save(&dir, &config, &tensors, DType::F32, &[]).unwrap();
    let options = EngineOptions {
        precision,
        ..EngineOptions::default()
    };
    Engine::load(&Checkpoint::open(&dir).unwrap(), options).unwrap()
}

fn what(patience: Option<usize>) -> What {
    What {
        head: true,
        early_exit: patience.map(|patience| EarlyExit {
            patience,
            tolerance: 0.02,
        }),
        ..What::default()
    }
}

#[test]
fn rows_leave_when_enough_classifiers_in_a_row_agreed() {
    let mut rng = ChaCha8Rng::seed_from_u64(30);
    for (case, labels, hidden, precision) in [
        ("sequence_classes3", 3, 48, Precision::F32),
        ("sequence_classes3", 3, 48, Precision::Int8),
        ("sequence_regression", 1, 32, Precision::F32),
    ] {
        let mut random =
            |len: usize| -> Vec<f32> { (0..len).map(|_| rng.random_range(-0.5..0.5)).collect() };
        let exits: Vec<_> = (1..DEPTH)
            .map(|_| (random(labels * hidden), random(labels)))
            .collect();
        let deep = |config: &mut AlbertConfig| config.num_hidden_layers = DEPTH;
        let exiting = |config: &mut AlbertConfig| {
            deep(config);
            config.early_exits = true;
        };
        let early = engine(case, exiting, None, &exits, precision);
        // The same model cut after each layer, under that layer's classifier.
        let cut: Vec<Engine> = (1..=DEPTH)
            .map(|depth| {
                let shallow = |config: &mut AlbertConfig| config.num_hidden_layers = depth;
                engine(case, shallow, exits.get(depth - 1), &[], precision)
            })
            .collect();

        let vocab = early.config().vocab_size as u32;
        let mut batch = Batch::new();
        let mut rows = Vec::new();
        for _ in 0..40 {
            let length = rng.random_range(1..=20);
            let ids: Vec<u32> = (0..length).map(|_| rng.random_range(0..vocab)).collect();
            batch.push(&ids, None).unwrap();
            rows.push(ids);
        }
        let logits = |engine: &Engine, what: &What| -> Vec<Vec<f32>> {
            let logits = engine
                .forward(&batch, what)
                .unwrap()
                .sequence_logits
                .unwrap();
            logits.chunks(labels).map(<[f32]>::to_vec).collect()
        };
        let by_depth: Vec<_> = cut
            .iter()
            .map(|engine| logits(engine, &what(None)))
            .collect();
        let agree = |a: &[f32], b: &[f32]| {
            let greatest =
                |x: &[f32]| (0..labels).fold(0, |best, i| if x[i] > x[best] { i } else { best });
            match labels {
                1 => (a[0] - b[0]).abs() <= 0.02,
                _ => greatest(a) == greatest(b),
            }
        };
        assert_eq!(logits(&early, &what(None)), by_depth[DEPTH - 1], "{case}");
        let mut used = Vec::new();
        for patience in 0..=DEPTH {
            let outputs = early.forward(&batch, &what(Some(patience))).unwrap();
            let layers = outputs.exit_layers.unwrap();
            for (row, found) in outputs.sequence_logits.unwrap().chunks(labels).enumerate() {
                let mut agreed = 0;
                let leaves = (1..=DEPTH).find(|&depth| {
                    if depth > 1 && agree(&by_depth[depth - 2][row], &by_depth[depth - 1][row]) {
                        agreed += 1;
                    } else {
                        agreed = 0;
                    }
                    agreed >= patience
                });
                let depth = leaves.unwrap_or(DEPTH);
                assert_eq!(layers[row], depth, "{case}, patience {patience}, row {row}");
                assert_eq!(
                    found,
                    by_depth[depth - 1][row],
                    "{case}, {patience}, row {row}"
                );
            }
            used.extend(layers);
        }
        used.sort_unstable();
        used.dedup();
        assert!(used.len() > 2, "{case}: rows left after {used:?} only");

        // Alone, a row leaves at the same layer with the same bits.
        let together = early.forward(&batch, &what(Some(1))).unwrap();
        for (i, row) in rows.iter().enumerate() {
            let mut batch = Batch::new();
            batch.push(row, None).unwrap();
            let alone = early.forward(&batch, &what(Some(1))).unwrap();
            let all = together.sequence_logits.as_ref().unwrap();
            assert_eq!(alone.sequence_logits.unwrap(), all[i * labels..][..labels]);
            assert_eq!(
                alone.exit_layers.unwrap()[0],
                together.exit_layers.as_ref().unwrap()[i]
            );
        }
        // Whatever else is asked for needs all layers.
        let states = What {
            pooled: true,
            ..what(Some(0))
        };
        assert_eq!(early.forward(&batch, &states).unwrap().exit_layers, None);
    }
}
