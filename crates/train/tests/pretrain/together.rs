//! Several processes that train one model, here as threads: they make the run of one process,
//! stop and resume in any number, and fail together.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use albert_model::Cpu;
use albert_train::{
    Alone, DevScores, Error, Outcome, Peers, PretrainOptions, Progress, StepReport,
    pretrain_together,
};

use crate::common::Home;

/// Where threads meet to exchange what each gives.
struct Room {
    table: Mutex<Table>,
    changed: Condvar,
}

struct Table {
    round: u64,
    given: Vec<Option<Vec<u64>>>,
    last: Arc<Vec<Vec<u64>>>,
}

/// A thread as a process.
struct Thread<'r> {
    rank: usize,
    count: usize,
    room: &'r Room,
}

impl Thread<'_> {
    /// What each gave, in the order of their numbers.
    fn exchange(&self, words: Vec<u64>) -> Result<Arc<Vec<Vec<u64>>>, Error> {
        let mut table = self.room.table.lock().expect("the table");
        let round = table.round;
        table.given[self.rank] = Some(words);
        if table.given.iter().all(Option::is_some) {
            table.last = Arc::new(table.given.iter_mut().filter_map(Option::take).collect());
            table.round += 1;
            self.room.changed.notify_all();
            return Ok(table.last.clone());
        }
        let wait = Duration::from_secs(120);
        let waiting = |table: &mut Table| table.round == round;
        let changed = &self.room.changed;
        let (table, late) = changed
            .wait_timeout_while(table, wait, waiting)
            .expect("the table");
        match late.timed_out() {
            true => Err(Error::Mpi {
                message: "the others did not come".into(),
            }),
            false => Ok(table.last.clone()),
        }
    }
}

impl Peers for Thread<'_> {
    fn rank(&self) -> usize {
        self.rank
    }

    fn count(&self) -> usize {
        self.count
    }

    fn sum(&self, values: &mut [f32]) -> Result<(), Error> {
        let own = values.iter().map(|value| value.to_bits().into());
        let all = self.exchange(own.collect())?;
        values.fill(0.0);
        for given in all.iter() {
            for (sum, word) in values.iter_mut().zip(given) {
                *sum += f32::from_bits(*word as u32);
            }
        }
        Ok(())
    }

    fn sum_wide(&self, values: &mut [f64]) -> Result<(), Error> {
        let own = values.iter().map(|value| value.to_bits());
        let all = self.exchange(own.collect())?;
        values.fill(0.0);
        for given in all.iter() {
            for (sum, word) in values.iter_mut().zip(given) {
                *sum += f64::from_bits(*word);
            }
        }
        Ok(())
    }

    fn follow(&self, values: &mut [u64]) -> Result<(), Error> {
        values.copy_from_slice(&self.exchange(values.to_vec())?[0]);
        Ok(())
    }

    fn first_failure(&self, failed: bool) -> Result<Option<usize>, Error> {
        let all = self.exchange(vec![failed.into()])?;
        Ok(all.iter().position(|given| given[0] == 1))
    }
}

/// Two lengths and accumulation; every step is evaluated, and with it the weights of all processes
/// are compared.
const TWELVE_STEPS: &str = r#"
    seed = 7
    [model]
    preset = "tiny"
    [[stage]]
    length = 32
    batch = 8
    accumulation = 2
    steps = 7
    [[stage]]
    length = 48
    batch = 4
    steps = 5
    [optimizer]
    kind = "lamb"
    rate = 2e-3
    [schedule]
    warmup_steps = 3
    [report]
    dev_share = 0.1
    dev_examples = 8
    evaluate_steps = 1
    report_steps = 1
"#;

/// How far losses of the same run may part, relative to themselves, in `TWELVE_STEPS`.
///
/// Rounding alone parts them: each process sums over its own rows in 32 bits, then the sums are
/// added. A gradient sums over at most 2 x 8 x 32 positions; where errors are as often up as down,
/// that makes a relative error of sqrt(512) x 2^-24 = 1.3e-6. What a step does to the loss changes
/// by that part of itself at first order, and all twelve together change the loss by far less than
/// all of it. Besides, a loss is read as a 32-bit number, good to 2^-24 = 6e-8.
const ROUNDING: f64 = 2e-6;

/// What a run told.
#[derive(Default)]
struct Told {
    losses: Vec<f64>,
    dev: Vec<DevScores>,
}

/// A run in one thread a set of options, stopped after step `stop_at` of process 0.
fn together(options: &[PretrainOptions], stop_at: u64) -> (Vec<Result<Outcome, Error>>, Told) {
    let count = options.len();
    let room = Room {
        table: Mutex::new(Table {
            round: 0,
            given: vec![None; count],
            last: Arc::default(),
        }),
        changed: Condvar::new(),
    };
    let work = |rank: usize| {
        let mut told = Told::default();
        let stop = AtomicBool::new(false);
        let mut heard = Heard(&mut told, stop_at, &stop);
        let thread = Thread {
            rank,
            count,
            room: &room,
        };
        let peers: &dyn Peers = if count == 1 { &Alone } else { &thread };
        let device = Default::default();
        let outcome = pretrain_together::<Cpu>(&options[rank], peers, &device, &stop, &mut heard);
        (outcome, told)
    };
    let mut results: Vec<_> = std::thread::scope(|scope| {
        let work = &work;
        let threads: Vec<_> = (0..count)
            .map(|rank| scope.spawn(move || work(rank)))
            .collect();
        let joined = threads.into_iter().map(|thread| thread.join());
        joined.map(|result| result.expect("no panic")).collect()
    });
    let rest = results.split_off(1);
    let (first, told) = results.remove(0);
    for (_, other) in &rest {
        assert!(other.losses.is_empty(), "only process 0 tells");
    }
    let outcomes = std::iter::once(first).chain(rest.into_iter().map(|(outcome, _)| outcome));
    (outcomes.collect(), told)
}

/// Hears a run, and stops it after a step.
struct Heard<'a>(&'a mut Told, u64, &'a AtomicBool);

impl Progress for Heard<'_> {
    fn step(&mut self, report: &StepReport) {
        self.0.losses.push(report.loss);
        if report.step == self.1 {
            self.2.store(true, Ordering::Relaxed);
        }
    }
    fn evaluated(&mut self, _step: u64, scores: &DevScores) {
        self.0.dev.push(*scores);
    }
}

/// The greatest relative difference of two runs' losses, of training and held out.
fn apart(a: &Told, b: &Told) -> f64 {
    assert_eq!((a.losses.len(), a.dev.len()), (b.losses.len(), b.dev.len()));
    let dev = |told: &Told| told.dev.iter().map(|dev| dev.loss).collect::<Vec<_>>();
    let (a, b) = ([a.losses.clone(), dev(a)], [b.losses.clone(), dev(b)]);
    let pairs = a.iter().flatten().zip(b.iter().flatten());
    pairs.map(|(a, b)| ((a - b) / a).abs()).fold(0.0, f64::max)
}

fn finished(outcomes: &[Result<Outcome, Error>]) -> &Outcome {
    for outcome in outcomes {
        let outcome = outcome.as_ref().expect("a finished run");
        assert!(outcome.finished);
    }
    outcomes[0].as_ref().expect("a finished run")
}

#[test]
fn any_number_of_processes_makes_the_run_of_one() {
    let home = Home::new();
    let (outcomes, one) = together(&[home.options("one", TWELVE_STEPS)], 0);
    let tokens = finished(&outcomes).tokens;
    assert_eq!((one.losses.len(), one.dev.len()), (12, 12));
    assert!(
        one.dev[11].loss < 0.999 * one.dev[0].loss,
        "something is learned"
    );
    // Of three processes' shares no two weigh the same; one of them shares no folder with others.
    for count in [2, 3] {
        let mut options = vec![home.options(&format!("run{count}"), TWELVE_STEPS); count];
        if count == 3 {
            options[2].output = home.path("elsewhere");
        }
        let (outcomes, many) = together(&options, 0);
        assert_eq!(finished(&outcomes).tokens, tokens);
        let apart = apart(&one, &many);
        println!("{count} processes: losses {apart:e} apart");
        assert!(apart < ROUNDING, "{count} processes: {apart}");
    }
    let written = std::fs::read_dir(home.path("elsewhere")).expect("the folder");
    assert_eq!(written.count(), 1, "nothing but the tokenised corpus");
}

#[test]
fn a_run_goes_on_with_another_number_of_processes() {
    let home = Home::new();
    let (_, whole) = together(&[home.options("whole", TWELVE_STEPS)], 0);
    let mut options = home.options("parts", TWELVE_STEPS);
    let mut all = Told::default();
    for (count, stop_at) in [(2, 5), (1, 9), (3, 0)] {
        let (outcomes, told) = together(&vec![options.clone(); count], stop_at);
        for outcome in outcomes {
            let outcome = outcome.expect("a run");
            assert_eq!(outcome.finished, stop_at == 0);
            assert_eq!(outcome.steps, if stop_at == 0 { 12 } else { stop_at });
        }
        all.dev.extend(told.dev);
        options.resume = true;
    }
    // The losses of training are smoothed from each start on, so only those held out compare.
    all.losses = whole.losses.clone();
    let apart = apart(&whole, &all);
    println!("resumed: losses {apart:e} apart");
    assert!(apart < ROUNDING, "{apart}");
}

#[test]
fn clocks_may_differ() {
    let home = Home::new();
    let recipe = TWELVE_STEPS
        .replace("steps = 7", "minutes = 0.02")
        .replace("steps = 5", "minutes = 0.02")
        .replace("preset", "hidden_dropout_prob = 0.1\npreset");
    let options = vec![home.options("run", &recipe); 2];
    let (outcomes, _) = together(&options, 0);
    let first = finished(&outcomes);
    let second = outcomes[1].as_ref().expect("a finished run");
    assert!(first.steps > 2 && first.steps == second.steps);
}

#[test]
fn processes_fail_together_and_one_says_why() {
    let home = Home::new();
    let failures = |options: &[PretrainOptions], teller: usize| {
        let (outcomes, _) = together(options, 0);
        let mut message = String::new();
        for (rank, outcome) in outcomes.into_iter().enumerate() {
            let error = outcome.expect_err("a failure");
            match error {
                Error::OtherProcess { rank: other } => assert_eq!(other, teller),
                error => {
                    assert_eq!(rank, teller, "{error}");
                    message = error.to_string();
                }
            }
        }
        message
    };
    let good = home.options("run", TWELVE_STEPS);

    let message = failures(&vec![good.clone(); 5], 0);
    assert!(
        message.contains("`stage[1].batch`") && message.contains("5 processes, not 4"),
        "{message}"
    );

    let mut other = good.clone();
    other.recipe.optimizer.rate = 1e-3;
    let message = failures(&[good.clone(), other], 1);
    assert!(
        message.contains("process 1 has not the same recipe"),
        "{message}"
    );
    let text = std::fs::read_to_string(home.path("corpus.txt")).expect("the corpus");
    std::fs::write(home.path("other.txt"), text.replacen("cat", "cow", 1)).expect("a corpus");
    let mut other = good.clone();
    other.corpus = vec![home.path("other.txt")];
    let message = failures(&[good.clone(), good.clone(), other], 2);
    assert!(
        message.contains("process 2 has not the same corpus"),
        "{message}"
    );
    let mut other = good.clone();
    other.corpus = vec![home.path("none.txt")];
    let message = failures(&[good.clone(), other.clone()], 1);
    assert!(message.contains("none.txt"), "{message}");
    let message = failures(&[other, good.clone()], 0);
    assert!(message.contains("none.txt"), "{message}");

    let mut wild = good;
    wild.recipe.optimizer.rate = 1e30;
    wild.recipe.optimizer.kind = albert_train::recipe::OptimizerKind::AdamW;
    let message = failures(&[wild.clone(), wild], 0);
    assert!(message.contains("was step "), "{message}");
}
