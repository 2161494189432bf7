//! Folders whose layers are 8-bit integers.

mod common;

use albert_checkpoint::{Architecture, Checkpoint, DType, Error, SaveTensor, save, save_int8};

#[test]
fn matrices_of_layers_come_back_within_half_a_step_and_all_else_as_it_was() {
    let home = tempfile::tempdir().unwrap();
    let dir = home.path().join("model");
    let config = common::small(Architecture::SequenceClassification);
    let parameters = config.parameters();
    let values: Vec<Vec<f32>> = parameters
        .iter()
        .map(|spec| {
            let number = |i: usize| ((i * 7919) % 2003) as f32 / 1001.0 - 1.0;
            (0..spec.elements()).map(number).collect()
        })
        .collect();
    let tensors: Vec<SaveTensor<'_>> = parameters
        .iter()
        .zip(&values)
        .map(|(spec, data)| SaveTensor {
            name: &spec.name,
            shape: &spec.shape,
            data,
        })
        .collect();
    save_int8(&dir, &config, &tensors, DType::F32, &[]).unwrap();
    assert!(!dir.join("model.safetensors").exists());

    let checkpoint = Checkpoint::open(&dir).unwrap();
    assert!(checkpoint.is_int8());
    assert_eq!(checkpoint.unused(), [] as [String; 0]);
    let mut matrices = 0;
    for (tensor, found) in tensors.iter().zip(checkpoint.tensors()) {
        let numbers = found.to_f32();
        if found.dtype == DType::F32 {
            assert_eq!(*numbers, *tensor.data, "{}", tensor.name);
            continue;
        }
        assert_eq!(found.dtype, DType::I8);
        matrices += 1;
        let inputs = tensor.shape[1];
        for (was, is) in tensor.data.chunks(inputs).zip(numbers.chunks(inputs)) {
            let greatest = was.iter().fold(0.0_f32, |most, x| most.max(x.abs()));
            let half_a_step = greatest / 254.0;
            for (was, is) in was.iter().zip(is) {
                assert!(
                    (was - is).abs() <= half_a_step * 1.0001,
                    "{was} became {is}"
                );
            }
        }
    }
    let layers = config.num_hidden_groups * config.inner_group_num;
    assert_eq!(
        matrices,
        6 * layers,
        "query, key, value, dense, ffn, ffn_output"
    );

    // Another way of storing it would leave one of the two stale.
    let error = save(&dir, &config, &tensors, DType::F32, &[]).unwrap_err();
    assert!(
        error.to_string().contains("model.int8.safetensors"),
        "{error}"
    );
}

#[test]
fn integers_without_their_scales_and_numbers_that_int8_cannot_hold_are_named() {
    let home = tempfile::tempdir().unwrap();
    let dir = home.path().join("model");
    let config = common::small(Architecture::Base);
    let parameters = config.parameters();
    let matrix = "albert.encoder.albert_layer_groups.0.albert_layers.0.ffn.weight";
    let saved = |broken: f32| {
        let values: Vec<Vec<f32>> = parameters
            .iter()
            .map(|spec| {
                let mut values = vec![0.5; spec.elements()];
                if spec.name == matrix {
                    values[1] = broken;
                }
                values
            })
            .collect();
        let tensors: Vec<SaveTensor<'_>> = parameters
            .iter()
            .zip(&values)
            .map(|(spec, data)| SaveTensor {
                name: &spec.name,
                shape: &spec.shape,
                data,
            })
            .collect();
        save_int8(&dir, &config, &tensors, DType::F32, &[])
    };
    let error = saved(f32::NAN).unwrap_err();
    assert!(
        matches!(&error, Error::Tensor { tensor, .. } if tensor == matrix),
        "{error}"
    );
    assert!(!dir.exists());
    saved(0.25).unwrap();

    let file = dir.join("model.int8.safetensors");
    let bytes = std::fs::read(&file).unwrap();
    let name = b"ffn.weight_scale";
    let at = bytes.windows(name.len()).position(|w| w == name).unwrap();
    let mut renamed = bytes;
    renamed[at..at + name.len()].copy_from_slice(b"ffn.weight_scala");
    std::fs::write(&file, renamed).unwrap();
    let error = Checkpoint::open(&dir).unwrap_err().to_string();
    assert!(
        error.contains("ffn.weight_scale`, its scales, is missing"),
        "{error}"
    );
}
