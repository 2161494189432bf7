//! Every output of every configuration in `golden/engine`, with and without gradients.

use std::path::{Path, PathBuf};

use albert_checkpoint::Checkpoint;
use albert_model::{AlbertBackend, AlbertForTask, Cpu, InputBatch, TaskOutput};
use burn::backend::Flex;
use burn::tensor::Tensor;
use safetensors::{Dtype, SafeTensors};

type TestResult = Result<(), Box<dyn std::error::Error>>;

/// Of the reference's range, over all rows. PyTorch's own f32 is within 2e-6 of the exact value;
/// other summation orders add as much again, and depth a little.
const TOLERANCE: f32 = 1e-5;

fn folders() -> Result<Vec<PathBuf>, std::io::Error> {
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../golden/engine");
    let mut folders = Vec::new();
    for entry in std::fs::read_dir(golden)? {
        let path = entry?.path();
        if path.join("expected.safetensors").exists() {
            folders.push(path);
        }
    }
    folders.sort();
    Ok(folders)
}

fn integers(file: &SafeTensors<'_>, name: &str) -> Option<Vec<u32>> {
    let tensor = file.tensor(name).ok()?;
    assert_eq!(tensor.dtype(), Dtype::I64, "{name}");
    let words = tensor.data().as_chunks::<8>().0.iter();
    Some(words.map(|&word| i64::from_le_bytes(word) as u32).collect())
}

fn floats(file: &SafeTensors<'_>, name: &str) -> Option<Vec<f32>> {
    let tensor = file.tensor(name).ok()?;
    assert_eq!(tensor.dtype(), Dtype::F32, "{name}");
    let words = tensor.data().as_chunks::<4>().0.iter();
    Some(words.map(|&word| f32::from_le_bytes(word)).collect())
}

/// An output under transformers' name, and whether it has a part for each token or for each row.
fn outputs<B: AlbertBackend>(
    output: TaskOutput<B>,
    layers: usize,
) -> Vec<(String, Tensor<B, 2>, bool)> {
    let mut named = Vec::new();
    for (layer, state) in output.albert.hidden_states.into_iter().enumerate() {
        named.push((format!("hidden_states.{layer}"), state, true));
    }
    assert_eq!(named.len(), layers + 1);
    named.push((
        "last_hidden_state".into(),
        output.albert.last_hidden_state,
        true,
    ));
    named.extend(
        output
            .albert
            .pooled
            .map(|x| ("pooler_output".into(), x, false)),
    );
    if let Some(order) = output.order {
        named.push(("sop_logits".into(), order, false));
        named.extend(
            output
                .masked_lm
                .map(|x| ("prediction_logits".into(), x, true)),
        );
    } else {
        named.extend(output.masked_lm.map(|x| ("logits".into(), x, true)));
    }
    let of_tokens = |x: &Tensor<B, 2>, tokens: usize| x.dims()[0] == tokens;
    if let Some(classes) = output.classes {
        let tokens = named[0].1.dims()[0];
        let each_token = of_tokens(&classes, tokens);
        named.push(("logits".into(), classes, each_token));
    }
    if let Some(question) = output.question {
        named.push((
            "start_logits".into(),
            question.clone().narrow(1, 0, 1),
            true,
        ));
        named.push(("end_logits".into(), question.narrow(1, 1, 1), true));
    }
    named
}

fn check<B: AlbertBackend>() -> TestResult {
    let device = B::Device::default();
    let folders = folders()?;
    assert!(folders.len() >= 12, "{} configurations", folders.len());
    for folder in folders {
        let case = folder.display();
        let bytes = std::fs::read(folder.join("expected.safetensors"))?;
        let file = SafeTensors::deserialize(&bytes)?;
        let rows = |name: &str| -> Vec<Vec<u32>> {
            (0..)
                .map_while(|row| integers(&file, &format!("{name}.{row}")))
                .collect()
        };
        let batch =
            InputBatch::<B>::from_rows(&rows("input_ids"), &rows("token_type_ids"), &device)?;
        let checkpoint = Checkpoint::open(&folder)?;
        let model = AlbertForTask::<B>::load(&checkpoint, &device)?;
        let output = model.forward(&batch, None, true)?;

        let mut compared = 0;
        for (name, found, each_token) in outputs(output, checkpoint.config().num_hidden_layers) {
            let parts = 0..batch.rows().count();
            let parts = parts.map(|row| floats(&file, &format!("{name}.{row}")));
            let parts: Option<Vec<Vec<f32>>> = parts.collect();
            let Some(parts) = parts else {
                return Err(format!("{case} lacks {name}").into());
            };
            let width = found.dims()[1];
            let lengths = batch.rows().lengths();
            for (part, &length) in parts.iter().zip(lengths) {
                let length = if each_token { length } else { 1 };
                assert_eq!(part.len(), length * width, "{case}: {name}");
            }
            let expected = parts.concat();
            let found: Vec<f32> = found.into_data().iter::<f32>().collect();
            let largest = expected.iter().copied().fold(f32::MIN, f32::max);
            let range = largest - expected.iter().copied().fold(f32::MAX, f32::min);
            for (found, expected) in found.iter().zip(&expected) {
                let difference = (found - expected).abs();
                assert!(
                    difference <= TOLERANCE * range,
                    "{case}: {name} is {found}, not {expected}, of a range of {range}"
                );
            }
            compared += parts.len();
        }
        // Nothing in the file is left over but what went in.
        let outputs = file
            .names()
            .into_iter()
            .filter(|name| !name.contains("_ids."));
        assert_eq!(outputs.count(), compared, "{case}");
    }
    Ok(())
}

#[test]
fn outputs_equal_transformers() -> TestResult {
    check::<Flex>()
}

#[test]
fn outputs_equal_transformers_where_gradients_are_tracked() -> TestResult {
    check::<Cpu>()
}
