//! Folders whose layers are 8-bit integers.

mod common;

use albert_checkpoint::{Architecture, Checkpoint, DType, Error, LayerModule, save, save_int8};
use common::{as_save, assert_says, listing, numbers, small};

const MATRIX: &str = "albert.encoder.albert_layer_groups.0.albert_layers.0.ffn.weight";

/// Integers that tell outputs apart, whatever the weights are.
fn quantize(weight: &[f32], outputs: usize) -> (Vec<i8>, Vec<f32>) {
    let integers = (0..weight.len()).map(|i| (i % 255) as u8 as i8);
    let scales = (1..=outputs).map(|o| o as f32 / 8.0);
    (integers.collect(), scales.collect())
}

#[test]
fn matrices_of_layers_are_integers_by_scales_and_all_else_is_as_it_was() {
    let home = tempfile::tempdir().unwrap();
    let dir = home.path().join("model");
    let config = small(Architecture::SequenceClassification);
    let numbers = numbers(&config);
    let tensors = as_save(&numbers);
    save_int8(&dir, &config, &tensors, DType::F32, quantize, &[]).unwrap();
    assert_eq!(listing(&dir), ["config.json", "model.int8.safetensors"]);

    let checkpoint = Checkpoint::open(&dir).unwrap();
    assert!(checkpoint.is_int8() && checkpoint.unused().is_empty());
    let mut matrices = 0;
    for (tensor, found) in tensors.iter().zip(checkpoint.tensors()) {
        let values = found.to_f32();
        let Some((integers, scales)) = found.to_int8() else {
            assert_eq!(found.dtype, DType::F32);
            assert_eq!(*values, *tensor.data, "{}", tensor.name);
            continue;
        };
        matrices += 1;
        let expected = quantize(tensor.data, tensor.shape[0]);
        assert_eq!((&integers, &scales), (&expected.0, &expected.1));
        let inputs = tensor.shape[1];
        for (i, value) in values.iter().enumerate() {
            assert_eq!(*value, f32::from(integers[i]) * scales[i / inputs]);
        }
    }
    let layers = config.num_hidden_groups * config.inner_group_num;
    let each = 6; // Query, key, value, dense, ffn, ffn_output.
    assert_eq!(matrices, each * layers);

    // Another way of storing it would leave one of the two stale.
    let error = save(&dir, &config, &tensors, DType::F32, &[]).unwrap_err();
    assert_says(&error.to_string(), &["model.int8.safetensors"]);
}

#[test]
fn matrices_of_modules_that_are_skipped_stay_as_they_were() {
    for skipped in LayerModule::ALL {
        let home = tempfile::tempdir().unwrap();
        let dir = home.path().join("model");
        let mut config = small(Architecture::Base);
        config.int8_skip_modules = vec![skipped];
        let numbers = numbers(&config);
        let tensors = as_save(&numbers);
        save_int8(&dir, &config, &tensors, DType::F32, quantize, &[]).unwrap();

        let checkpoint = Checkpoint::open(&dir).unwrap();
        assert_eq!(checkpoint.config().int8_skip_modules, [skipped]);
        let name = format!(".{skipped}.");
        let others = [".attention.", ".ffn.", ".ffn_output."].map(|other| other != name);
        let mut quantized = [false; 3];
        for (tensor, found) in tensors.iter().zip(checkpoint.tensors()) {
            for (module, quantized) in LayerModule::ALL.into_iter().zip(&mut quantized) {
                let of_module = tensor.name.contains(&format!(".{module}."));
                *quantized |= of_module && found.dtype == DType::I8;
            }
            if tensor.name.contains(&name) {
                assert_eq!(*found.to_f32(), *tensor.data, "{}", tensor.name);
            }
        }
        assert_eq!(quantized, others);
    }
}

#[test]
fn what_int8_cannot_hold_is_named_and_nothing_is_written() {
    let home = tempfile::tempdir().unwrap();
    let dir = home.path().join("model");
    let config = small(Architecture::Base);
    let mut numbers = numbers(&config);
    let too_few = |weight: &[f32], _: usize| (vec![0; weight.len()], Vec::new());
    let error = save_int8(&dir, &config, &as_save(&numbers), DType::F32, too_few, &[]);
    assert!(matches!(error, Err(Error::Tensor { .. })));
    let broken = numbers.iter_mut().find(|(name, ..)| name == MATRIX);
    broken.unwrap().2[1] = f32::NAN;
    let error = save_int8(&dir, &config, &as_save(&numbers), DType::F32, quantize, &[]);
    assert_says(&error.unwrap_err().to_string(), &[MATRIX, "not finite"]);
    assert!(!dir.exists());
}

#[test]
fn integers_without_their_scales_are_refused() {
    let home = tempfile::tempdir().unwrap();
    let dir = home.path().join("model");
    let config = small(Architecture::Base);
    let numbers = numbers(&config);
    save_int8(&dir, &config, &as_save(&numbers), DType::F32, quantize, &[]).unwrap();
    let file = dir.join("model.int8.safetensors");
    let mut bytes = std::fs::read(&file).unwrap();
    let name = b"ffn.weight_scale";
    let at = bytes.windows(name.len()).position(|w| w == name).unwrap();
    bytes[at..at + name.len()].copy_from_slice(b"ffn.weight_scala");
    std::fs::write(&file, bytes).unwrap();
    let error = Checkpoint::open(&dir).unwrap_err().to_string();
    assert_says(&error, &["ffn.weight_scale`, its scales, is missing"]);
}
