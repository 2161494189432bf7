//! Every field that is wrong is named.

use super::*;

const GOOD: &str = r#"
tokenizer = "tokenizer.json"
seed = 3
[model]
preset = "tiny"
[[stage]]
length = 32
batch = 8
steps = 100
[[stage]]
length = 64
batch = 4
accumulation = 2
steps = 50
[optimizer]
kind = "lamb"
rate = 0.001
"#;

/// The error of the good recipe after replacing `from` by `to`.
fn error(from: &str, to: &str) -> String {
    assert!(GOOD.contains(from), "{from}");
    let recipe = Recipe::parse(&GOOD.replacen(from, to, 1));
    recipe.expect_err("a bad recipe").to_string()
}

#[test]
fn defaults_are_the_published_ones() {
    let recipe = Recipe::parse(GOOD).expect("a recipe");
    let MaskingRecipe {
        share,
        max_words,
        replaced,
        random,
    } = recipe.masking;
    assert_eq!((share, max_words, replaced, random), (0.15, 3, 0.8, 0.1));
    let OptimizerRecipe {
        weight_decay,
        epsilon,
        clip,
        betas,
        ..
    } = recipe.optimizer;
    assert_eq!(
        (weight_decay, epsilon, clip, betas),
        (0.01, 1e-6, 1.0, [0.9, 0.999])
    );
    assert_eq!(recipe.data.short_share, 0.1);
}

#[test]
fn mistakes_are_named() {
    for (from, to, field) in [
        ("rate = 0.001", "rate = 0.0", "optimizer.rate"),
        ("rate = 0.001", "rate = nan", "optimizer.rate"),
        (
            "rate = 0.001",
            "rate = 1e-3\nbetas = [0.9, 1.0]",
            "optimizer.betas",
        ),
        ("kind = \"lamb\"", "kind = \"sgd\"", "sgd"),
        ("length = 32", "length = 4", "stage[0].length"),
        ("length = 32", "length = 65536", "stage[0].length"),
        ("batch = 4", "batch = 0", "stage[1].batch"),
        (
            "batch = 4",
            "batch = 5\nboth_orders = true",
            "stage[1].batch",
        ),
        (
            "batch = 4",
            "batch = 4\norder_weight = -1.0",
            "stage[1].order_weight",
        ),
        (
            "batch = 4",
            "batch = 4\norder_weight = nan",
            "stage[1].order_weight",
        ),
        (
            "[[stage]]",
            "[data]\nsentence_task = \"next\"\n[[stage]]\nboth_orders = true",
            "stage[0].both_orders",
        ),
        // 33,554,432 rows of 64 positions are 2^31, one more than an i32 counts.
        ("batch = 4", "batch = 33554432", "stage[1].batch"),
        (
            "accumulation = 2",
            "accumulation = 1048577",
            "stage[1].accumulation",
        ),
        ("steps = 50", "minutes = 50", "stage[1].minutes"),
        ("steps = 50", "steps = 50\nepochs = 1.0", "stage[1]"),
        ("steps = 50", "", "stage[1]"),
        (
            "[optimizer]",
            "[masking]\nmax_words = 0\n[optimizer]",
            "masking.max_words",
        ),
        (
            "[optimizer]",
            "[masking]\nmax_words = 10000000000\n[optimizer]",
            "masking.max_words",
        ),
        (
            "[optimizer]",
            "[report]\ndev_share = 1.0\n[optimizer]",
            "report.dev_share",
        ),
        ("seed = 3", "seed = -3", "seed"),
        ("seed = 3", "sead = 3", "sead"),
        (
            "[optimizer]",
            "[masking]\nshare = 1.5\n[optimizer]",
            "masking.share",
        ),
        (
            "[optimizer]",
            "[masking]\nrandom = 0.3\n[optimizer]",
            "masking.random",
        ),
        (
            "[optimizer]",
            "[report]\ndev_share = 0\n[optimizer]",
            "report.dev_share",
        ),
        (
            "rate = 0.001",
            "rate = 0.001\nrate_for_batch = 0",
            "optimizer.rate_for_batch",
        ),
        (
            "[optimizer]",
            "[report]\ncheckpoint_steps = 0\n[optimizer]",
            "report.checkpoint_steps",
        ),
        (
            "[optimizer]",
            "[guard]\nloss_z = 0\n[optimizer]",
            "guard.loss_z",
        ),
        (
            "[optimizer]",
            "[guard]\ngradient_z = inf\n[optimizer]",
            "guard.gradient_z",
        ),
        (
            "[optimizer]",
            "[guard]\nwindow = 4\n[optimizer]",
            "guard.window",
        ),
        (
            "[optimizer]",
            "[guard]\nwarmup_steps = 0\n[optimizer]",
            "guard.warmup_steps",
        ),
        (
            "[optimizer]",
            "[guard]\nmost_skips = 129\n[optimizer]",
            "guard.most_skips",
        ),
        ("[optimizer]", "[guard]\nskips = 1\n[optimizer]", "skips"),
        ("tokenizer = \"tokenizer.json\"", "", "tokenizer"),
    ] {
        let message = error(from, to);
        assert!(message.contains(field), "{field}: {message}");
    }
}

#[test]
fn the_published_rate_is_scaled_by_the_square_root_of_the_batch() {
    let (rate, batch) = PUBLISHED_RATE;
    for (rows, expected) in [
        (4096, 0.00176),
        (1024, 0.00088),
        (256, 0.00044),
        (64, 0.00022),
    ] {
        assert_eq!(scaled_rate(rate, batch, rows), expected);
    }
    // Two stages of 8 rows each.
    let text = GOOD.replace("rate = 0.001", "rate = 0.00176\nrate_for_batch = 4096");
    let recipe = Recipe::parse(&text).expect("a recipe");
    let rates = recipe
        .stage
        .iter()
        .map(|stage| recipe.optimizer.rate_for(stage.rows()));
    // 4096 / 8 is 512, whose root is no whole number.
    assert!(
        rates
            .into_iter()
            .all(|rate| (rate / 0.00176 - 512f64.sqrt().recip()).abs() < 1e-12)
    );
    let plain = Recipe::parse(GOOD).expect("a recipe").optimizer;
    assert_eq!((plain.rate_for(8), plain.rate_for(4096)), (0.001, 0.001));
}

#[test]
fn the_shape_comes_from_preset_overrides_and_tokenizer() {
    let text = GOOD.replace("preset = \"tiny\"", "preset = \"tiny\"\nhidden_size = 64");
    let config = Recipe::parse(&text)
        .expect("a recipe")
        .config(777)
        .expect("a configuration");
    assert_eq!(
        (
            config.vocab_size,
            config.hidden_size,
            config.intermediate_size
        ),
        (777, 64, 256)
    );
    assert_eq!(config.architecture, Architecture::PreTraining);
    for (to, field) in [
        ("preset = \"huge\"", "model.preset"),
        (
            "preset = \"tiny\"\nhidden_act = \"gelo\"",
            "model.hidden_act",
        ),
        (
            "preset = \"tiny\"\nnum_attention_heads = 5",
            "num_attention_heads",
        ),
        (
            "preset = \"tiny\"\nmax_position_embeddings = 48",
            "stage[1].length",
        ),
    ] {
        let text = GOOD.replace("preset = \"tiny\"", to);
        let message = Recipe::parse(&text)
            .expect("a recipe")
            .config(777)
            .expect_err("a mistake");
        assert!(message.to_string().contains(field), "{field}: {message}");
    }
}

#[test]
fn resuming_compares_what_matters() {
    let was = Recipe::parse(GOOD).expect("a recipe");
    let mut now = was.clone();
    now.tokenizer = "elsewhere/tokenizer.json".into();
    now.report.checkpoint_minutes = 1.0;
    now.report.checkpoint_steps = Some(5);
    now.guard.most_skips = 3;
    now.agrees_with(&was).expect("paths and reports may differ");
    now.stage[1].batch = 5;
    let message = now
        .agrees_with(&was)
        .expect_err("another batch")
        .to_string();
    assert!(
        message.contains("`stage[1].batch` was 4") && message.contains("is 5"),
        "{message}"
    );
    now = was.clone();
    now.model.hidden_size = Some(64);
    let message = now
        .agrees_with(&was)
        .expect_err("another shape")
        .to_string();
    assert!(
        message.contains("`model.hidden_size` was not set"),
        "{message}"
    );
}

#[test]
fn the_recipes_in_configs_are_good() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../configs");
    for name in ["tiny", "mini", "base"] {
        let recipe = Recipe::from_file(&folder.join(format!("{name}.toml"))).expect(name);
        let config = recipe.config(30_000).expect(name);
        assert_eq!(config.vocab_size, 30_000);
        let text = toml::to_string(&recipe).expect("TOML");
        assert_eq!(
            Recipe::parse(&text).expect("a recipe"),
            recipe,
            "{name} survives the state"
        );
    }
    let base = Recipe::from_file(&folder.join("base.toml")).expect("base");
    let stage = &base.stage[0];
    assert_eq!(
        (stage.batch * stage.accumulation, stage.steps),
        (4096, Some(125_000))
    );
    let optimizer = &base.optimizer;
    assert_eq!(
        (optimizer.rate, optimizer.rate_for_batch),
        (PUBLISHED_RATE.0, Some(PUBLISHED_RATE.1))
    );
    assert_eq!(optimizer.rate_for(stage.rows()), 0.00176);
    assert_eq!(base.schedule.warmup_steps, 3125);
}
