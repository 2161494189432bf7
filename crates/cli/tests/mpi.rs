//! `albert pretrain` in several processes under `mpirun`.

#![cfg(unix)]

mod common;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use common::{albert, names, root, text};
use serde_json::Value;

/// How far losses of the same run may part, relative to themselves: `crates/train/tests/pretrain/together.rs`
/// has the reasons.
const ROUNDING: f64 = 2e-6;

/// A folder with a corpus and a recipe.
struct Home(tempfile::TempDir);

impl Home {
    fn new(stage: &str) -> Home {
        let home = Home(tempfile::tempdir().unwrap());
        let places = ["house", "garden", "river", "field", "forest", "village"];
        let mut lines = String::new();
        for i in 0..240 {
            let place = places[i % places.len()];
            lines += &format!(
                "On day {i} the horse went to the {place}. Then it slept.\n\
                 After that it ate near the {place}! It was a good day.\n\n"
            );
        }
        fs::write(home.path("corpus.txt"), lines).unwrap();
        home.recipe("recipe.toml", stage);
        home
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// A recipe whose every step is evaluated and saved.
    fn recipe(&self, name: &str, stage: &str) {
        let recipe = format!(
            "tokenizer = {:?}\n\
             [model]\npreset = \"tiny\"\n\
             [[stage]]\nlength = 48\n{stage}\n\
             [optimizer]\nkind = \"lamb\"\nrate = 2e-3\n\
             [schedule]\nwarmup_steps = 2\n\
             [report]\ndev_share = 0.1\ndev_examples = 16\nevaluate_steps = 1\n\
             checkpoint_minutes = 1e-9\n",
            root().join("models/mini")
        );
        fs::write(self.path(name), recipe).unwrap();
    }

    fn pretrain(&self, recipe: &str, output: &str) -> Vec<String> {
        let file = |name: &str| text(&self.path(name)).to_owned();
        [
            "pretrain".into(),
            "--recipe".into(),
            file(recipe),
            "--corpus".into(),
            file("corpus.txt"),
            "--output".into(),
            file(output),
            "--json".into(),
        ]
        .into()
    }
}

/// `mpirun` as anyone may run it, on a machine with few cores and as root.
fn mpirun() -> Command {
    let mut command = Command::new("mpirun");
    command
        .env("OMPI_ALLOW_RUN_AS_ROOT", "1")
        .env("OMPI_ALLOW_RUN_AS_ROOT_CONFIRM", "1")
        .args(["--oversubscribe", "--bind-to", "none"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

fn processes(count: usize, arguments: &[String]) -> Command {
    let mut command = mpirun();
    command.args(["-n", &count.to_string(), env!("CARGO_BIN_EXE_albert")]);
    command.args(arguments);
    command
}

/// The JSON lines of a run that must succeed.
fn lines(output: &Output) -> Vec<Value> {
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{error}");
    let output = std::str::from_utf8(&output.stdout).unwrap();
    let lines = output.lines().map(serde_json::from_str);
    lines.collect::<Result<_, _>>().unwrap()
}

/// The losses of all evaluations.
fn losses(lines: &[Value]) -> Vec<f64> {
    let dev = lines.iter().filter(|line| line["event"] == "evaluated");
    dev.map(|line| line["dev"]["loss"].as_f64().unwrap())
        .collect()
}

fn finished(lines: &[Value]) -> bool {
    lines.last().unwrap()["finished"].as_bool().unwrap()
}

fn assert_same(a: &[f64], b: &[f64]) {
    assert_eq!(a.len(), b.len());
    for (a, b) in a.iter().zip(b) {
        assert!(((a - b) / a).abs() < ROUNDING, "{a} and {b}");
    }
}

fn alone(arguments: &[String]) -> Vec<Value> {
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    lines(&albert(&arguments))
}

#[test]
fn two_processes_make_the_run_of_one() {
    let home = Home::new("batch = 8\naccumulation = 2\nsteps = 12");
    let one = alone(&home.pretrain("recipe.toml", "one"));
    let arguments = home.pretrain("recipe.toml", "two");
    let two = lines(&processes(2, &arguments).output().unwrap());
    assert!(finished(&one) && finished(&two));
    assert_eq!(losses(&one).len(), 12);
    assert_same(&losses(&one), &losses(&two));
    assert_eq!(one.len(), two.len(), "one process speaks");
    let rows = |output: &str| fs::read_to_string(home.path(output).join("metrics.csv")).unwrap();
    let tokens = |rows: String| -> Vec<String> {
        let column = |line: &str| line.split(',').nth(1).unwrap().to_owned();
        rows.lines().map(column).collect()
    };
    assert_eq!(tokens(rows("one")), tokens(rows("two")));
}

/// The id of process `rank` of those that `mpirun` started.
fn process_id(mpirun: &Child, rank: usize) -> Option<u32> {
    let wanted = format!("OMPI_COMM_WORLD_RANK={rank}");
    fs::read_dir("/proc").unwrap().flatten().find_map(|entry| {
        let id: u32 = entry.file_name().to_str()?.parse().ok()?;
        let stat = fs::read_to_string(entry.path().join("stat")).ok()?;
        let parent = stat.rsplit_once(") ")?.1.split(' ').nth(1)?;
        let environment = fs::read(entry.path().join("environ")).ok()?;
        let has = environment
            .split(|byte| *byte == 0)
            .any(|variable| variable == wanted.as_bytes());
        (parent == mpirun.id().to_string() && has).then_some(id)
    })
}

fn send(signal: &str, id: u32) {
    let status = Command::new("kill")
        .args([signal, &id.to_string()])
        .status();
    assert!(status.unwrap().success());
}

/// Starts two processes and waits until they have taken some steps.
fn start(home: &Home, output: &str, mut command: Command) -> Child {
    let mut run = command.spawn().unwrap();
    let start = Instant::now();
    let metrics = home.path(output).join("metrics.csv");
    while fs::read_to_string(&metrics).map_or(0, |text| text.lines().count()) < 6 {
        assert!(run.try_wait().unwrap().is_none(), "training ended early");
        assert!(
            start.elapsed() < Duration::from_secs(120),
            "training did not begin"
        );
        std::thread::sleep(Duration::from_millis(20));
    }
    run
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap().flatten() {
        let target = to.join(entry.file_name());
        match entry.path().is_dir() {
            true => copy(&entry.path(), &target),
            false => drop(fs::copy(entry.path(), target).unwrap()),
        }
    }
}

#[cfg(target_os = "linux")]
#[test]
fn a_killed_process_ends_the_run_which_resumes_in_any_number() {
    let home = Home::new("batch = 4\nsteps = 100");
    for killed in [1, 0] {
        let name = format!("run{killed}");
        let mut arguments = home.pretrain("recipe.toml", &name);
        let run = start(&home, &name, processes(2, &arguments));
        let id = process_id(&run, killed).expect("the process");
        send("-KILL", id);
        let output = run.wait_with_output().unwrap();
        let error = String::from_utf8(output.stderr).unwrap();
        assert!(!output.status.success(), "{error}");
        let message = format!("process {killed} of 2 (id {id}) has died");
        let folder = home.path(&name);
        names(
            &error,
            &[&message, "last checkpoint", text(&folder), "--resume"],
        );
        assert!(
            albert(&["inspect", text(&folder)]).status.success(),
            "it opens"
        );

        arguments.push("--resume".into());
        copy(&folder, &home.path("copy"));
        let two = lines(&processes(2, &arguments).output().unwrap());
        let folder = arguments
            .iter_mut()
            .find(|argument| argument.ends_with(&name));
        *folder.unwrap() = text(&home.path("copy")).to_owned();
        let one = alone(&arguments);
        assert!(finished(&one) && finished(&two));
        assert_eq!(two.last().unwrap()["steps"], 100);
        assert!(losses(&two).len() > 10, "the run went on from its middle");
        assert_same(&losses(&one), &losses(&two));
        fs::remove_dir_all(home.path("copy")).unwrap();
    }
}

#[test]
fn mpirun_told_to_stop_leaves_a_checkpoint() {
    let home = Home::new("batch = 4\nsteps = 1000000");
    let arguments = home.pretrain("recipe.toml", "run");
    let run = start(&home, "run", processes(2, &arguments));
    send("-INT", run.id());
    let output = run.wait_with_output().unwrap();
    let error = String::from_utf8(output.stderr).unwrap();
    let folder = home.path("run");
    names(&error, &["stopping", text(&folder), "--resume"]);
    assert!(
        albert(&["inspect", text(&folder)]).status.success(),
        "it opens"
    );
}

#[test]
fn what_is_wrong_is_told_once() {
    let home = Home::new("batch = 1\nsteps = 4");
    let failure = |mut command: Command, fragments: &[&str]| {
        let output = command.output().unwrap();
        let error = String::from_utf8(output.stderr).unwrap();
        assert!(
            !output.status.success() && output.stdout.is_empty(),
            "{error}"
        );
        assert!(!error.contains("panicked"), "{error}");
        names(&error, fragments);
        assert_eq!(error.matches("error in process").count(), 1, "{error}");
        assert!(!error.contains("has died"), "{error}");
    };
    // The first to leave is seen to have ended by a second one that is slow.
    for _ in 0..8 {
        failure(
            processes(2, &home.pretrain("recipe.toml", "run")),
            &["process 0", "`stage[0].batch`", "2 processes, not 1"],
        );
    }
    failure(
        processes(2, &home.pretrain("none.toml", "run")),
        &["process 0", "none.toml"],
    );
    home.recipe("a.toml", "batch = 2\nsteps = 4");
    home.recipe("b.toml", "batch = 2\nsteps = 5");
    let mut differ = processes(1, &home.pretrain("a.toml", "run"));
    differ.args([":", "-n", "1", env!("CARGO_BIN_EXE_albert")]);
    differ.args(home.pretrain("b.toml", "run"));
    failure(differ, &["process 1", "recipe"]);
}
