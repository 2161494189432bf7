//! How much is asked for, beside what can be done: tells a burst, which passes, from an overload,
//! which does not.

use std::time::{Duration, Instant};

/// What was asked for so long ago counts a third (1/e) of what is asked for now.
const MEMORY: Duration = Duration::from_millis(100);

/// So many times what can be done is an overload. With [`MEMORY`] it also says which burst is taken
/// for none: 200 ms of work that comes at once.
const OVERLOAD: f64 = 2.0;

/// Work that was asked for lately, done or refused.
pub(crate) struct Demand {
    /// Seconds of computing.
    work: f64,
    at: Instant,
}

impl Demand {
    pub(crate) fn new(now: Instant) -> Self {
        Self { work: 0.0, at: now }
    }

    /// Adds a request that takes so many seconds to compute.
    pub(crate) fn add(&mut self, seconds: f64, now: Instant) {
        self.work = self.work_by(now) + seconds.min(MEMORY.as_secs_f64());
        self.at = now;
    }

    /// Whether more is asked for than can be done, by far. A request that takes long by itself
    /// makes no overload.
    pub(crate) fn is_overload(&self, now: Instant) -> bool {
        self.work_by(now) > OVERLOAD * MEMORY.as_secs_f64()
    }

    fn work_by(&self, now: Instant) -> f64 {
        let since = now.saturating_duration_since(self.at);
        self.work * (-since.as_secs_f64() / MEMORY.as_secs_f64()).exp()
    }
}

#[cfg(test)]
mod tests {
    use rand::{Rng, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    use super::*;

    /// Of ten seconds of requests of 2 ms, at random, so many times what can be done: the share
    /// at which there was an overload, and when that was first.
    fn seen(times: f64, seed: u64) -> (f64, Option<f64>) {
        let mut draw = ChaCha8Rng::seed_from_u64(seed);
        let began = Instant::now();
        let mut demand = Demand::new(began);
        let (mut at, mut all, mut over, mut first) = (0.0, 0, 0, None);
        while at < 10.0 {
            all += 1;
            let now = began + Duration::from_secs_f64(at);
            demand.add(0.002, now);
            if demand.is_overload(now) {
                over += 1;
                first = first.or(Some(at));
            }
            at += -f64::ln(1.0 - draw.random::<f64>()) * 0.002 / times;
        }
        (f64::from(over) / f64::from(all), first)
    }

    #[test]
    fn an_overload_is_seen_at_once_and_a_full_server_is_none() {
        for seed in 0..100 {
            let (share, first) = seen(10.0, seed);
            assert!(share > 0.99 && first.unwrap() < 0.05, "{share} {first:?}");
            assert_eq!(seen(0.8, seed), (0.0, None));
        }
    }

    #[test]
    fn a_burst_is_forgotten_and_a_large_request_is_no_overload() {
        let began = Instant::now();
        let mut demand = Demand::new(began);
        demand.add(5.0, began);
        assert!(!demand.is_overload(began));
        (0..100).for_each(|_| demand.add(0.002, began));
        assert!(demand.is_overload(began));
        assert!(!demand.is_overload(began + MEMORY));
    }
}
