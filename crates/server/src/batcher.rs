//! The thread that computes: rows of many requests, as many at once as pays.
//!
//! A forward pass uses every core, so one runs at a time. While it runs, requests wait in the
//! [`Queue`]; the next batch is of what waits when it ends, so nothing waits for company that is not
//! there. A batch is as large as a token budget and a time budget allow, and the time it takes is
//! judged by what its model was seen to do.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use albert_tasks::{Asked, MASK_COST, Row, Wanted, run_rows};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use crate::Error;
use crate::config::Limits;
use crate::load::Load;
use crate::metrics::Metrics;
use crate::models::Served;
use crate::problem::{Problem, Result};
use crate::queue::{Backlog, Queue, Taken, Ticket};
use crate::traces;

/// Bytes of a text for each piece that it will have, about.
const PIECE_BYTES: usize = 4;

/// Texts of so many bytes are in pieces in about the time that handing over to another thread takes.
const LITTLE_BYTES: usize = 512;

/// Before a model was seen to do anything: so much in a batch.
const FIRST_COST: usize = 1024;

/// Products of fewer rows reach less of what the processor can do: a batch may cost so much however
/// long it takes.
const EFFICIENT_COST: usize = 192;

/// A request may wait so many times as long as its rows beyond the first take, beyond what every
/// request may.
const PATIENCE: f64 = 4.0;

/// What a request will be, judged by its texts before they are in pieces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Expected {
    rows: usize,
    cost: usize,
    /// Of its texts, read or not: all are cut into pieces.
    bytes: usize,
}

impl Expected {
    /// Of rows of texts of so many bytes, of which a model reads all, or as much as it reads at once.
    pub(crate) fn of(model: &Served, all: bool, bytes: impl Iterator<Item = usize>) -> Self {
        let most = match all {
            true => usize::MAX,
            false => model.max_length,
        };
        Self::within(most, bytes)
    }

    /// Of rows of texts of so many bytes, of each of which at most so much is read.
    fn within(most: usize, bytes: impl Iterator<Item = usize>) -> Self {
        let none = Self {
            rows: 0,
            cost: 0,
            bytes: 0,
        };
        bytes.fold(none, |all, bytes| Self {
            rows: all.rows + 1,
            cost: all.cost + bytes.div_ceil(PIECE_BYTES).min(most),
            bytes: all.bytes + bytes,
        })
    }

    /// Of all its texts.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Whether its texts are in pieces sooner than another thread could be told to see to it.
    pub(crate) fn is_little(&self) -> bool {
        self.bytes <= LITTLE_BYTES
    }

    /// The same with so many masks in it.
    pub(crate) fn with_masks(self, masks: usize) -> Self {
        Self {
            cost: self.cost + masks * MASK_COST,
            ..self
        }
    }
}

/// What is computed before a request.
#[derive(Default)]
struct Ahead {
    cost: usize,
    seconds: f64,
}

impl Ahead {
    fn busy(&self) -> Problem {
        let detail = format!("{} tokens would be computed before this request", self.cost);
        Problem::busy(detail, self.seconds.ceil() as u64)
    }
}

/// Rows that can go through an engine together.
#[derive(Clone)]
struct Lane {
    model: Arc<Served>,
    wanted: Wanted,
}

impl PartialEq for Lane {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.model.model.engine, &other.model.model.engine)
            && self.wanted == other.wanted
    }
}

/// A row, and where its numbers go.
struct Job {
    row: Row,
    index: usize,
    since: Instant,
    reply: UnboundedSender<Reply>,
}

/// What became of a row.
enum Reply {
    Done(Done),
    /// It waited so long while too much was asked for that it was given up, and its request with it.
    GivenUp {
        waited: Duration,
    },
}

struct Done {
    index: usize,
    /// Until its batch began.
    waited: Duration,
    numbers: Numbers,
}

type Numbers = std::result::Result<Vec<f32>, String>;

struct State {
    queue: Queue<Lane, Job>,
    load: Load,
    /// What requests cost that were refused since the last batch.
    refused: usize,
    closed: bool,
}

struct Shared {
    state: Mutex<State>,
    wake: Condvar,
    batch_tokens: usize,
    batch_time: Duration,
    queue_time: Duration,
    overload_time: Duration,
    metrics: Arc<Metrics>,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        // Whoever panicked did not do so within the queue's own bookkeeping.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Seconds that a request may wait, of so many rows that cost so much together, while so much
    /// too much is asked for ([`Load::excess`]).
    fn longest_wait(&self, model: &Served, rows: usize, own: usize, excess: f64) -> f64 {
        // Of one row, a long one must not come before short ones by its patience.
        let others = own.saturating_sub(own.div_ceil(rows.max(1)));
        // Less than a batch must not be ahead, or the next one would be small.
        let overload = self.overload_time.as_secs_f64();
        let overload = overload.max(model.seconds(EFFICIENT_COST));
        let usual = self.queue_time.as_secs_f64();
        between(usual, overload, excess) + PATIENCE * model.seconds(others)
    }

    /// Takes out what has waited too long while too much is asked for: what was let in before that was
    /// seen, or would have been sooner at the speed of then. The batch that has just ended took
    /// `batch`; whoever came in it could not wait less. No more than what was refused meanwhile, so
    /// that others come in its place: a burst that nobody follows is computed whole.
    fn give_up_late(&self, state: &mut State, batch: Duration) -> Vec<Job> {
        let now = Instant::now();
        let excess = state.load.excess(now);
        let refused = std::mem::take(&mut state.refused);
        if excess == 0.0 || refused == 0 {
            return Vec::new();
        }
        state.queue.give_up(refused, |lane, whole| {
            let longest = self.longest_wait(&lane.model, whole.rows, whole.cost, excess);
            let waited = now.duration_since(whole.first.since);
            waited.saturating_sub(batch).as_secs_f64() > longest
        })
    }

    /// Tells those that were taken out.
    fn tell(&self, given_up: Vec<Job>) {
        self.metrics.given_up_rows.inc_by(given_up.len() as u64);
        // A request is told once, by its first row.
        for job in given_up.iter().filter(|job| job.index == 0) {
            let waited = job.since.elapsed();
            // An error means that the request is gone.
            let _ = job.reply.send(Reply::GivenUp { waited });
        }
    }
}

/// The way from `usual` to what is less so far.
fn between(usual: f64, less: f64, way: f64) -> f64 {
    usual - (usual - less).max(0.0) * way
}

/// Of a request that was let in, and waited for so long in vain.
fn given_up(waited: Duration) -> Problem {
    let waited = waited.as_millis();
    let detail = format!("this request had waited for {waited} ms when too much was asked for");
    Problem::busy(detail, 1)
}

/// Computes for all requests.
pub(crate) struct Batcher {
    shared: Arc<Shared>,
    worker: Mutex<Option<JoinHandle<()>>>,
}

impl Batcher {
    /// Starts the thread.
    ///
    /// # Errors
    /// [`Error::Thread`].
    pub(crate) fn start(
        limits: &Limits,
        metrics: Arc<Metrics>,
    ) -> std::result::Result<Self, Error> {
        let shared = Arc::new(Shared {
            state: Mutex::new(State {
                queue: Queue::new(limits.queue_tokens),
                load: Load::new(Instant::now()),
                refused: 0,
                closed: false,
            }),
            wake: Condvar::new(),
            batch_tokens: limits.batch_tokens,
            batch_time: Duration::from_millis(limits.batch_ms),
            queue_time: Duration::from_millis(limits.queue_ms),
            overload_time: Duration::from_millis(limits.overload_ms),
            metrics,
        });
        let own = Arc::clone(&shared);
        let worker = std::thread::Builder::new()
            .name("batches".to_owned())
            .spawn(move || work(&own))
            .map_err(Error::Thread)?;
        Ok(Self {
            shared,
            worker: Mutex::new(Some(worker)),
        })
    }

    /// Computes the rows of a question and answers it. A future that is dropped takes its rows
    /// out of the queue.
    ///
    /// # Errors
    /// 429 where the queue is full or was too slow, 500 where the model fails.
    pub(crate) async fn answer<A: 'static>(
        &self,
        model: &Arc<Served>,
        mut asked: Asked<A>,
    ) -> Result<A> {
        let rows = asked.take_rows();
        let lane = Lane {
            model: Arc::clone(model),
            wanted: asked.wanted(),
        };
        let computing = traces::part("compute");
        let (count, cost) = (rows.len(), rows.iter().map(Row::cost).sum::<usize>());
        computing.note("albert.rows", count as f64);
        computing.note("albert.cost", cost as f64);
        let (mut waiting, mut waited) = (self.submit(&lane, rows)?, Duration::ZERO);
        for _ in 0..count {
            let Some(reply) = waiting.replies.recv().await else {
                return Err(Problem::internal("the computing thread has ended"));
            };
            match reply {
                Reply::Done(done) => {
                    waited = waited.max(done.waited);
                    asked.take(done.index, done.numbers.map_err(Problem::internal)?);
                }
                Reply::GivenUp { waited } => {
                    computing.note("albert.queue_seconds", waited.as_secs_f64());
                    return Err(given_up(waited));
                }
            }
        }
        computing.note("albert.queue_seconds", waited.as_secs_f64());
        asked
            .answer()
            .map_err(|error| Problem::internal(error.to_string()))
    }

    /// Notes a request, and refuses one that would be refused once its texts are in pieces: before
    /// work is spent on it.
    ///
    /// # Errors
    /// 429 where the queue is full, 503 while the server ends.
    pub(crate) fn check_early(&self, model: &Served, expected: Expected) -> Result<()> {
        let Expected { rows, cost, .. } = expected;
        let mut state = self.shared.lock();
        state.load.asked(model.seconds(cost), Instant::now());
        self.check(&mut state, model, rows, cost).map(drop)
    }

    /// What is ahead of a request that would be computed in time.
    fn check(&self, state: &mut State, model: &Served, rows: usize, own: usize) -> Result<Ahead> {
        if state.closed {
            return Err(Problem::draining());
        }
        // Each lane's at its own model's pace.
        let mut ahead = Ahead::default();
        for (lane, cost) in state.queue.ahead_by_lane(rows) {
            ahead.cost += cost;
            ahead.seconds += lane.model.seconds(cost);
        }
        let excess = state.load.excess(Instant::now());
        match ahead.seconds > self.shared.longest_wait(model, rows, own, excess) {
            true => {
                state.refused += own;
                Err(ahead.busy())
            }
            false => Ok(ahead),
        }
    }

    fn submit(&self, lane: &Lane, rows: Vec<Row>) -> Result<Waiting<'_>> {
        let (reply, replies) = unbounded_channel();
        let since = Instant::now();
        let job = |(index, row): (usize, Row)| {
            let reply = reply.clone();
            let job = Job {
                index,
                since,
                reply,
                row,
            };
            (job.row.cost(), job)
        };
        let jobs: Vec<(usize, Job)> = rows.into_iter().enumerate().map(job).collect();
        let own: usize = jobs.iter().map(|(cost, _)| cost).sum();
        let mut state = self.shared.lock();
        let ahead = self.check(&mut state, &lane.model, jobs.len(), own)?;
        let ticket = state.queue.push(lane, jobs);
        let ticket = ticket.map_err(|_| ahead.busy())?;
        let cost = state.queue.cost();
        self.shared.metrics.queue_tokens.set(cost as i64);
        drop(state);
        self.shared.wake.notify_one();
        Ok(Waiting {
            ticket,
            replies,
            shared: &self.shared,
        })
    }

    /// Ends the thread once nothing waits any more.
    pub(crate) fn close(&self) {
        self.shared.lock().closed = true;
        self.shared.wake.notify_all();
        let mut worker = self.worker.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(worker) = worker.take() {
            // A panic of the thread was reported where it happened.
            let _ = worker.join();
        }
    }
}

impl Drop for Batcher {
    fn drop(&mut self) {
        self.close();
    }
}

/// A request's rows; dropping it takes those that still wait out of the queue.
struct Waiting<'a> {
    ticket: Ticket,
    replies: UnboundedReceiver<Reply>,
    shared: &'a Shared,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        let mut state = self.shared.lock();
        let cancelled = state.queue.cancel(self.ticket);
        self.shared.metrics.cancelled_rows.inc_by(cancelled as u64);
        self.shared
            .metrics
            .queue_tokens
            .set(state.queue.cost() as i64);
    }
}

fn work(shared: &Shared) {
    let mut batch = Duration::ZERO;
    loop {
        let mut state = shared.lock();
        let given_up = shared.give_up_late(&mut state, batch);
        if !given_up.is_empty() {
            drop(state);
            shared.tell(given_up);
            state = shared.lock();
        }
        let taken = loop {
            let next = state.queue.next_lane();
            let budget = next.map(|(lane, backlog)| budget(shared, lane, backlog));
            if let Some(taken) = budget.and_then(|budget| state.queue.take(budget)) {
                break taken;
            }
            if state.closed {
                return;
            }
            state = shared
                .wake
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        };
        shared.metrics.queue_tokens.set(state.queue.cost() as i64);
        drop(state);
        let began = Instant::now();
        run(shared, taken);
        batch = began.elapsed();
    }
}

/// What a batch may cost. Of what many wait for, half: the first need not wait for the last.
fn budget(shared: &Shared, lane: &Lane, backlog: Backlog) -> usize {
    let by_time = match lane.model.pace() {
        Some(pace) => (pace * shared.batch_time.as_secs_f64()) as usize,
        None => FIRST_COST,
    };
    let share = match backlog.requests {
        0 | 1 => backlog.cost,
        _ => backlog.cost / 2,
    };
    let budget = by_time.min(share).max(EFFICIENT_COST);
    budget.min(shared.batch_tokens)
}

fn run(shared: &Shared, taken: Taken<Lane, Job>) {
    let Taken { lane, rows } = taken;
    // Whoever left while its row was on its way here needs no answer.
    let jobs: Vec<Job> = rows
        .into_iter()
        .filter(|job| !job.reply.is_closed())
        .collect();
    let began = Instant::now();
    for job in &jobs {
        let waited = began.duration_since(job.since).as_secs_f64();
        shared.metrics.queue_seconds.observe(waited);
    }
    let rows: Vec<&Row> = jobs.iter().map(|job| &job.row).collect();
    if rows.is_empty() {
        return;
    }
    let all = compute(&lane, &rows);
    let cost = rows.iter().map(|row| row.cost()).sum();
    lane.model.did(cost, began.elapsed().as_secs_f64());
    let tokens: usize = rows.iter().map(|row| row.ids.len()).sum();
    shared.metrics.batch_tokens.observe(tokens as f64);
    shared.metrics.tokens.inc_by(tokens as u64);
    // One row that the model cannot bear must not spoil its neighbours' answers.
    let numbers = match all {
        Ok(all) => all.into_iter().map(Ok).collect(),
        Err(why) if jobs.len() == 1 => vec![Err(why)],
        Err(_) => rows.iter().map(|row| alone(&lane, row)).collect::<Vec<_>>(),
    };
    for (job, numbers) in jobs.iter().zip(numbers) {
        // An error means that the request is gone.
        let _ = job.reply.send(Reply::Done(Done {
            index: job.index,
            waited: began.duration_since(job.since),
            numbers,
        }));
    }
}

fn alone(lane: &Lane, row: &Row) -> Numbers {
    compute(lane, &[row]).map(|mut one| one.pop().unwrap_or_default())
}

fn compute(lane: &Lane, rows: &[&Row]) -> std::result::Result<Vec<Vec<f32>>, String> {
    let engine = &lane.model.model.engine;
    let run = || run_rows(engine, rows, lane.wanted);
    match catch_unwind(AssertUnwindSafe(run)) {
        Ok(numbers) => numbers.map_err(|error| error.to_string()),
        Err(panic) => {
            tracing::error!(
                model = lane.model.name,
                panic = said(&*panic),
                "a batch failed"
            );
            Err("the model failed on this request; the log has more".to_owned())
        }
    }
}

/// What a panic said.
pub(crate) fn said(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("a panic without words")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waiting_is_shortened_by_the_excess_and_never_made_longer() {
        for (usual, less, way, expected) in [
            (1.0, 0.01, 0.0, 1.0),
            (1.0, 0.01, 0.5, 0.505),
            (1.0, 0.01, 1.0, 0.01),
            (0.005, 0.01, 1.0, 0.005),
        ] {
            let found = between(usual, less, way);
            assert!((found - expected).abs() < 1e-12, "{found}, not {expected}");
        }
    }

    #[test]
    fn a_long_text_is_much_to_prepare_however_little_of_it_is_read() {
        let short = Expected::within(64, [100, 200].into_iter());
        assert_eq!((short.rows, short.cost), (2, 75));
        assert!(short.is_little());
        let long = Expected::within(64, [1_000_000].into_iter());
        assert_eq!(long.cost, 64);
        assert!(!long.is_little());
    }
}
