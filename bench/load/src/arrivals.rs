//! When requests are due, whether or not earlier ones are answered.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use clap::ValueEnum;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use tokio::sync::Notify;

/// How requests of a rate follow each other.
#[derive(Clone, Copy, ValueEnum)]
pub(crate) enum Arrivals {
    /// At random, each without regard to the others: a Poisson process, as of many callers.
    Random,
    /// In even steps.
    Even,
}

impl Arrivals {
    /// The times at which requests are due, the same in every run.
    pub(crate) fn times(
        self,
        rate: f64,
        began: Instant,
        until: Instant,
    ) -> impl Iterator<Item = Instant> + Send + 'static {
        let mut draw = ChaCha8Rng::seed_from_u64(0);
        let mut at = 0.0;
        std::iter::from_fn(move || {
            let due = began + Duration::from_secs_f64(at);
            at += match self {
                Self::Random => -f64::ln(1.0 - draw.random::<f64>()) / rate,
                Self::Even => 1.0 / rate,
            };
            (due < until).then_some(due)
        })
    }
}

/// Requests that are due, in order.
#[derive(Default)]
pub(crate) struct Line {
    state: Mutex<State>,
    more: Notify,
}

#[derive(Default)]
struct State {
    due: VecDeque<Instant>,
    count: usize,
    ended: bool,
}

impl Line {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// When the next was due; nothing once all were handed out.
    pub(crate) async fn next(&self) -> Option<Instant> {
        loop {
            let more = self.more.notified();
            {
                let mut state = self.lock();
                if let Some(due) = state.due.pop_front() {
                    return Some(due);
                }
                if state.ended {
                    return None;
                }
            }
            more.await;
        }
    }

    /// How many were due by now.
    pub(crate) fn due(&self) -> usize {
        self.lock().count
    }

    fn add(&self, due: Instant) {
        let mut state = self.lock();
        state.due.push_back(due);
        state.count += 1;
        drop(state);
        // The connection that was used last: others may be idle for so long that they are closed.
        self.more.notify_last();
    }

    fn end(&self) {
        self.lock().ended = true;
        self.more.notify_waiters();
    }
}

/// A thread that puts each request in line when it is due. A runtime's timers are a millisecond
/// coarse, which is much beside answers of a few.
pub(crate) fn keep_time(line: &Arc<Line>, times: impl Iterator<Item = Instant> + Send + 'static) {
    let line = Arc::clone(line);
    std::thread::spawn(move || {
        for due in times {
            std::thread::sleep(due.saturating_duration_since(Instant::now()));
            line.add(due);
        }
        line.end();
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    fn times(arrivals: Arrivals, rate: f64, seconds: u64) -> Vec<f64> {
        let began = Instant::now();
        let until = began + Duration::from_secs(seconds);
        let times = arrivals.times(rate, began, until);
        times.map(|due| (due - began).as_secs_f64()).collect()
    }

    #[test]
    fn even_arrivals_are_a_step_apart() {
        let times = times(Arrivals::Even, 4.0, 1);
        assert_eq!(times.len(), 4);
        for (at, wanted) in times.iter().zip([0.0, 0.25, 0.5, 0.75]) {
            assert!((at - wanted).abs() < 1e-6, "{at} {wanted}");
        }
    }

    #[test]
    fn random_arrivals_are_as_many_and_as_spread_as_poisson_has_them() {
        let times = times(Arrivals::Random, 100.0, 1000);
        // Five standard deviations around the mean.
        assert!(times.len().abs_diff(100_000) < 1_600, "{}", times.len());
        let gaps = times.windows(2).map(|pair| pair[1] - pair[0]);
        let over = gaps.filter(|gap| *gap > 0.01).count() as f64 / times.len() as f64;
        // Of exponential gaps, a share of 1/e is longer than the mean.
        assert!((over - (-1.0f64).exp()).abs() < 0.01, "{over}");
    }
}
