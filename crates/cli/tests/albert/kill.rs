//! A training run that is killed again and again: nothing that was saved is lost, nothing is torn,
//! and in the end it is the run that nobody killed.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use albert_checkpoint::Checkpoint;
use albert_tasks::text::Tokenizer;
use safetensors::SafeTensors;
use serde_json::Value;

use crate::common::{stdout, text};

const KILLS: u64 = 100;
const STEPS: u64 = 6000;
/// Steps from one checkpoint to the next.
const INTERVAL: u64 = 4;

/// Random numbers from a fixed seed (xorshift, Marsaglia 2003), in `0..below`.
struct Random(u64);

impl Random {
    fn below(&mut self, below: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % below
    }
}

/// A running `albert`, and its events.
struct Running(Child, Receiver<Value>);

fn start(arguments: &[&str]) -> Running {
    let mut child = Command::new(env!("CARGO_BIN_EXE_albert"))
        .args(arguments)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let (sender, events) = channel();
    std::thread::spawn(move || {
        // A line that a kill cut short is none.
        let events = lines.map_while(Result::ok);
        for event in events.filter_map(|line| serde_json::from_str(&line).ok()) {
            if sender.send(event).is_err() {
                return;
            }
        }
    });
    Running(child, events)
}

/// What stands in the state of a run, without what a clock decides.
fn state(output: &Path) -> (u64, BTreeMap<String, Vec<u8>>) {
    let bytes = fs::read(output.join("training/state.safetensors")).unwrap();
    let (_, metadata) = SafeTensors::read_metadata(&bytes).unwrap();
    let info = &metadata.metadata().as_ref().unwrap()["albert_training"];
    let info: Value = serde_json::from_str(info).unwrap();
    let tensors = SafeTensors::deserialize(&bytes).unwrap();
    let tensors = tensors.tensors().into_iter();
    let tensors = tensors.map(|(name, view)| (name, view.data().to_vec()));
    (info["step"].as_u64().unwrap(), tensors.collect())
}

/// `metrics.csv` without the columns that a clock makes.
fn metrics(output: &Path) -> Vec<String> {
    let text = fs::read_to_string(output.join("metrics.csv")).unwrap();
    let row = |line: &str| {
        let fields: Vec<&str> = line.split(',').collect();
        [&fields[..2], &fields[4..]].concat().join(",")
    };
    text.lines().map(row).collect()
}

#[test]
fn a_run_killed_a_hundred_times_is_the_run_that_nobody_killed() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let corpus = crate::pretrain::corpus(folder);
    let vocabulary = folder.join("vocabulary");
    stdout(&[
        "tokenizer",
        "train",
        "--corpus",
        text(&corpus),
        "--vocab-size",
        "96",
        "--output",
        text(&vocabulary),
    ]);
    for (name, checkpoints) in [("killed", INTERVAL), ("whole", STEPS)] {
        let recipe = format!(
            "tokenizer = \"vocabulary\"\n\
             [model]\npreset = \"tiny\"\nhidden_size = 16\nnum_hidden_layers = 2\n\
             num_attention_heads = 2\nhidden_dropout_prob = 0.1\n\
             [[stage]]\nlength = 24\nbatch = 2\nsteps = {}\n\
             [[stage]]\nlength = 32\nbatch = 2\nsteps = {}\n\
             [optimizer]\nkind = \"lamb\"\nrate = 2e-3\n\
             [schedule]\nwarmup_steps = 20\n\
             [report]\ndev_share = 0.05\ndev_examples = 8\nevaluate_steps = 500\n\
             report_steps = 10\ncheckpoint_steps = {checkpoints}\n",
            STEPS / 4,
            STEPS - STEPS / 4,
        );
        fs::write(folder.join(format!("{name}.toml")), recipe).unwrap();
    }
    let (whole, killed) = (folder.join("whole"), folder.join("killed"));
    let recipes = ["whole.toml", "killed.toml"].map(|name| folder.join(name));
    let [straight, new] =
        [(&recipes[0], &whole), (&recipes[1], &killed)].map(|(recipe, output)| {
            let paths = [
                ("--recipe", recipe),
                ("--corpus", &corpus),
                ("--output", output),
            ];
            let paths = paths
                .into_iter()
                .flat_map(|(flag, path)| [flag, text(path)]);
            let command = ["pretrain", "--threads", "1", "--json"].into_iter();
            command.chain(paths).collect::<Vec<&str>>()
        });
    stdout(&straight);

    let resumed: Vec<&str> = new.iter().copied().chain(["--resume"]).collect();
    let mut random = Random(2026);
    // The step that is known to be safe: that of the last checkpoint that was announced, or found
    // after a kill.
    let mut safe = 0;
    for kill in 0..KILLS {
        let mut run = start(if kill == 0 { &new } else { &resumed });
        // One time in four at any moment of the start; else some time after a checkpoint, so that
        // the run gets on.
        let mut heard = |event: &Value| {
            let step = event["step"].as_u64();
            match event["event"].as_str() {
                Some("begins") => assert_eq!(step, Some(safe), "kill {kill}: goes on elsewhere"),
                Some("saved") => safe = step.unwrap(),
                _ => return false,
            }
            event["event"] == "saved"
        };
        let wait = if kill > 0 && random.below(4) == 0 {
            Duration::from_millis(random.below(300))
        } else {
            while !heard(&run.1.recv().expect("the run goes on")) {}
            Duration::from_micros(random.below(40_000))
        };
        std::thread::sleep(wait);
        // SIGKILL: nothing is tidied up.
        run.0.kill().unwrap();
        let status = run.0.wait().unwrap();
        assert!(!status.success(), "the run ended before kill {kill}");
        for event in run.1.iter() {
            heard(&event);
        }

        let checkpoint = Checkpoint::open(&killed).unwrap();
        assert_eq!(checkpoint.config().hidden_size, 16);
        let bias = checkpoint.tensor("albert.pooler.bias").unwrap();
        assert!(bias.to_f32().iter().all(|value| value.is_finite()));
        let tokenizer = Tokenizer::from_folder(&killed).unwrap();
        assert_eq!(tokenizer.vocab_size(), 96);
        // What was announced is there; what was not is at most one checkpoint more. So a kill
        // costs the steps after the last checkpoint, which are fewer than lie between two.
        let (step, _) = state(&killed);
        assert!(
            (safe..=safe + INTERVAL).contains(&step),
            "kill {kill}: the state is that of step {step}, the last checkpoint was {safe}"
        );
        safe = step;
    }
    let (step, _) = state(&killed);
    println!("killed {KILLS} times on the way to step {step} of {STEPS}");
    assert!(step > KILLS, "the kills left the run no time: {step}");

    stdout(&resumed);
    let model = |output: &Path| fs::read(output.join("model.safetensors")).unwrap();
    assert!(model(&whole) == model(&killed), "other weights");
    assert!(state(&whole) == state(&killed), "another state");
    assert_eq!(metrics(&whole), metrics(&killed));
    let names = fs::read_dir(&killed).unwrap();
    let names = names.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let left: Vec<String> = names.filter(|name| name.starts_with('.')).collect();
    assert!(left.is_empty(), "left behind: {left:?}");
}
