//! Initial values, names, dropout, and the way through a checkpoint folder.

use std::collections::HashSet;

use albert_checkpoint::{AlbertConfig, Architecture, Checkpoint, DType, PRESETS};
use albert_model::{
    AlbertForPreTraining, AlbertForTask, Cpu, DropoutKey, Error, NamedParameters, Precision,
    PretrainBatch, parameter_id,
};

type TestResult = Result<(), Box<dyn std::error::Error>>;

fn tiny() -> Result<AlbertConfig, &'static str> {
    AlbertConfig::preset("tiny").ok_or("no such preset")
}

fn batch() -> albert_model::Result<PretrainBatch<Cpu>> {
    PretrainBatch::from_rows(
        &[vec![2, 9, 4, 8, 3, 30, 3], vec![2, 4, 3, 12, 3]],
        &[vec![0, 0, 0, 0, 0, 1, 1], vec![0, 0, 0, 1, 1]],
        &[(0, 2, 17), (1, 1, 20)],
        &[0, 1],
        &Default::default(),
    )
}

#[test]
fn ids_differ_and_last() -> TestResult {
    for preset in PRESETS {
        let config = AlbertConfig::preset(preset).ok_or("no such preset")?;
        let names: Vec<String> = config.parameters().into_iter().map(|p| p.name).collect();
        let ids: HashSet<u64> = names.iter().map(|name| parameter_id(name).val()).collect();
        assert_eq!(ids.len(), names.len(), "{preset}");
    }
    // The state of a run is filed under these: another value would orphan it.
    assert_eq!(
        parameter_id("albert.pooler.weight").val(),
        0x4d73_440b_a02d_807c
    );
    Ok(())
}

#[test]
fn initial_values_depend_on_seed_and_name_alone() -> TestResult {
    let device = Default::default();
    let mut config = tiny()?;
    let tensors = |config: &AlbertConfig, seed| -> albert_model::Result<_> {
        Ok(AlbertForPreTraining::<Cpu>::init(config, seed, &device)?.tensors())
    };
    let first = tensors(&config, 1)?;
    assert_eq!(first, tensors(&config, 1)?);
    let other = tensors(&config, 2)?;
    assert_ne!(first[0].2, other[0].2);

    // A second group does not disturb the first.
    config.num_hidden_groups = config.num_hidden_layers;
    let grouped = tensors(&config, 1)?;
    for tensor in &first {
        assert!(grouped.contains(tensor), "{}", tensor.0);
    }
    for (name, shape, values) in &first {
        assert_eq!(values.len(), shape.iter().product::<usize>(), "{name}");
        let expected = match name {
            name if name.ends_with("bias") => Some(0.0),
            name if name.contains("LayerNorm") || name.contains("layer_norm") => Some(1.0),
            _ => None,
        };
        match expected {
            Some(expected) => assert!(values.iter().all(|&v| v == expected), "{name}"),
            None => assert!(
                values
                    .iter()
                    .all(|v| v.abs() <= 2.0 * config.initializer_range)
            ),
        }
    }
    Ok(())
}

#[test]
fn a_folder_gives_back_the_same_model() -> TestResult {
    let device = Default::default();
    let config = tiny()?;
    let model = AlbertForPreTraining::<Cpu>::init(&config, 3, &device)?;
    let parent = tempfile::tempdir()?;
    let folder = parent.path().join("model");
    model.save(&folder, DType::F32, &[])?;
    let checkpoint = Checkpoint::open(&folder)?;
    let again = AlbertForPreTraining::<Cpu>::load(&checkpoint, &device)?;
    assert_eq!(model.tensors(), again.tensors());

    let mut tensors = model.tensors();
    tensors
        .iter_mut()
        .for_each(|(.., values)| values.iter_mut().for_each(|v| *v += 1.0));
    let plain = tensors
        .iter()
        .map(|(name, _, values)| (name.clone(), values.clone()));
    let replaced = again.clone().with_tensors(plain.clone().collect())?;
    assert_eq!(replaced.tensors(), tensors);
    let missing = again.clone().with_tensors(plain.clone().skip(1).collect());
    assert!(matches!(missing, Err(Error::UnknownParameter(name)) if name == tensors[0].0));
    let short = plain.map(|(name, values)| (name, values[1..].to_vec()));
    let short = again.with_tensors(short.collect());
    assert!(matches!(short, Err(Error::ParameterShape { .. })));
    Ok(())
}

#[test]
fn dropout_depends_on_its_key_alone() -> TestResult {
    let mut config = tiny()?;
    config.hidden_dropout_prob = 0.2;
    config.attention_probs_dropout_prob = 0.2;
    let model = AlbertForPreTraining::<Cpu>::init(&config, 3, &Default::default())?;
    let loss = |key| -> albert_model::Result<f32> {
        Ok(model.forward(&batch()?, key)?.loss.into_scalar())
    };
    let key = |step| Some(DropoutKey { seed: 5, step });
    let (without, first) = (loss(None)?, loss(key(1))?);
    assert_eq!(first.to_bits(), loss(key(1))?.to_bits());
    assert_ne!(first, without);
    assert_ne!(first, loss(key(2))?);
    assert_eq!(without.to_bits(), loss(None)?.to_bits());
    Ok(())
}

/// The last layer is computed for masked and first tokens alone, unless something is dropped: a
/// rate that no draw falls below, and that leaves the others as they are, asks for the whole one.
#[test]
fn the_last_layer_needs_only_the_tokens_asked_for() -> TestResult {
    for inner in [1, 2] {
        let mut config = tiny()?;
        config.inner_group_num = inner;
        let device = Default::default();
        let selected = AlbertForPreTraining::<Cpu>::init(&config, 3, &device)?;
        config.hidden_dropout_prob = 1e-12;
        let whole = AlbertForPreTraining::<Cpu>::init(&config, 3, &device)?;
        let key = Some(DropoutKey { seed: 5, step: 1 });
        let (ours, theirs) = (
            selected.forward(&batch()?, key)?,
            whole.forward(&batch()?, key)?,
        );
        let logits = |output: &albert_model::PretrainOutput<Cpu>| {
            let of =
                |x: burn::tensor::Tensor<Cpu, 2>| x.into_data().iter::<f32>().collect::<Vec<_>>();
            let order = of(output.order_logits.clone());
            [of(output.masked_lm_logits.clone()), order].concat()
        };
        // A token's numbers do not depend on which others are computed beside it.
        assert_eq!(logits(&ours), logits(&theirs));

        let (ours, theirs) = (ours.loss.backward(), theirs.loss.backward());
        let ours = gradients(&selected, &ours);
        let theirs = gradients(&whole, &theirs);
        assert_eq!(ours.len(), theirs.len());
        let largest = |values: &[f32]| values.iter().fold(0.0_f32, |most, x| most.max(x.abs()));
        let of_all = theirs
            .iter()
            .map(|values| largest(values))
            .fold(0.0, f32::max);
        for (ours, theirs) in ours.iter().zip(&theirs) {
            // Of the keys' bias, whose gradient is zero, there is nothing but rounding.
            let largest = largest(theirs).max(1e-4 * of_all);
            for (ours, theirs) in ours.iter().zip(theirs) {
                // Sums over twelve tokens or fewer, some of them zero, in another order.
                assert!((ours - theirs).abs() <= 2e-6 * largest, "{ours} {theirs}");
            }
        }
    }
    Ok(())
}

/// Every parameter's gradient.
fn gradients(
    model: &AlbertForPreTraining<Cpu>,
    gradients: &<Cpu as burn::tensor::backend::AutodiffBackend>::Gradients,
) -> Vec<Vec<f32>> {
    use burn::module::{Module, ModuleVisitor, Param};
    use burn::tensor::Tensor;
    struct Collect<'a>(
        &'a <Cpu as burn::tensor::backend::AutodiffBackend>::Gradients,
        Vec<Vec<f32>>,
    );
    impl ModuleVisitor<Cpu> for Collect<'_> {
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<Cpu, D>>) {
            if let Some(gradient) = param.val().grad(self.0) {
                self.1.push(gradient.into_data().iter::<f32>().collect());
            }
        }
    }
    let mut collect = Collect(gradients, Vec::new());
    model.visit(&mut collect);
    collect.1
}

#[test]
fn rounded_products_stay_near() -> TestResult {
    let model = AlbertForPreTraining::<Cpu>::init(&tiny()?, 3, &Default::default())?;
    let exact: f32 = model.forward(&batch()?, None)?.loss.into_scalar();
    let model = model.with_precision(Precision::Bf16);
    let rounded: f32 = model.forward(&batch()?, None)?.loss.into_scalar();
    // bf16 keeps 8 bits: 0.4% a factor, which averages out over sums and layers.
    assert!((exact - rounded).abs() < 0.01 * exact, "{exact} {rounded}");
    Ok(())
}

#[test]
fn contradictions_are_refused() -> TestResult {
    let device = Default::default();
    let model = AlbertForPreTraining::<Cpu>::init(&tiny()?, 3, &device)?;
    let config = tiny()?.with_architecture(Architecture::MaskedLm);
    let refused = AlbertForPreTraining::<Cpu>::init(&config, 3, &device);
    assert!(matches!(refused, Err(Error::Architecture { .. })));

    let from =
        |ids: &[Vec<u32>], types: &[Vec<u32>], masked: &[(usize, usize, u32)], order: &[u32]| {
            PretrainBatch::<Cpu>::from_rows(ids, types, masked, order, &device)
        };
    let row = vec![2, 4, 3];
    let rows = [row.clone()];
    let types = [vec![0; 3]];
    assert!(from(&[], &[], &[], &[]).is_err());
    assert!(from(&[vec![]], &[vec![]], &[], &[0]).is_err());
    assert!(from(&rows, &[vec![0; 2]], &[(0, 1, 5)], &[0]).is_err());
    assert!(from(&rows, &types, &[(0, 3, 5)], &[0]).is_err());
    assert!(from(&rows, &types, &[(1, 0, 5)], &[0]).is_err());
    assert!(from(&rows, &types, &[(0, 1, 5)], &[0, 1]).is_err());

    let nothing_masked = from(&rows, &types, &[], &[0])?;
    assert!(matches!(
        model.forward(&nothing_masked, None),
        Err(Error::Batch(_))
    ));
    let mut lying = from(&rows, &types, &[(0, 1, 5)], &[0])?;
    lying.lengths = vec![4];
    assert!(matches!(model.forward(&lying, None), Err(Error::Batch(_))));

    let long = vec![5; model.config().max_position_embeddings + 1];
    let long = from(
        std::slice::from_ref(&long),
        &[vec![0; long.len()]],
        &[(0, 1, 5)],
        &[0],
    )?;
    assert!(matches!(model.forward(&long, None), Err(Error::Batch(_))));
    Ok(())
}

#[test]
fn every_architecture_has_its_heads() -> TestResult {
    for architecture in Architecture::ALL {
        let config = tiny()?.with_architecture(architecture);
        let model = AlbertForTask::<Cpu>::init(&config, 0, &Default::default())?;
        let names: Vec<String> = model.tensors().into_iter().map(|(name, ..)| name).collect();
        let expected: Vec<String> = config.parameters().into_iter().map(|p| p.name).collect();
        assert_eq!(names, expected, "{architecture}");
    }
    Ok(())
}

#[test]
fn a_local_start_looks_near() -> TestResult {
    let config = tiny()?;
    let model = AlbertForPreTraining::<Cpu>::init_local(&config, 3, &Default::default())?;
    let tensors: std::collections::HashMap<_, _> = model
        .tensors()
        .into_iter()
        .map(|(name, _, values)| (name, values))
        .collect();
    let layer = "albert.encoder.albert_layer_groups.0.albert_layers.0.attention";
    let query = &tensors[&format!("{layer}.query.weight")];
    assert_eq!(query, &tensors[&format!("{layer}.key.weight")]);
    assert_ne!(query, &tensors[&format!("{layer}.value.weight")]);
    // Neighbours agree more than positions far apart.
    let positions = &tensors["albert.embeddings.position_embeddings.weight"];
    let row = |i: usize| &positions[i * config.embedding_size..(i + 1) * config.embedding_size];
    let dot = |i: usize, j: usize| -> f32 { row(i).iter().zip(row(j)).map(|(a, b)| a * b).sum() };
    assert!(
        dot(20, 21) > 1.2 * dot(20, 40),
        "{} {}",
        dot(20, 21),
        dot(20, 40)
    );
    Ok(())
}
