//! How much is asked for, held against what can be done.

use std::time::{Duration, Instant};

/// How much too much counts at once is judged by the shorter time, or that of a few requests, among
/// which a few that come together are not many; how much counts once it lasts by the longer one: spells in
/// which a machine does less than usual end within seconds.
const LATELY: Duration = Duration::from_millis(100);
const FEW: f64 = 20.0;
const LASTING: Duration = Duration::from_secs(5);

/// Seconds of computing that are asked for each second: what is asked for longer ago than a memory
/// hardly counts.
struct Average {
    memory: f64,
    value: f64,
    at: Instant,
}

impl Average {
    fn new(memory: Duration, now: Instant) -> Self {
        Self {
            memory: memory.as_secs_f64(),
            value: 0.0,
            at: now,
        }
    }

    /// Notes a request that takes so many seconds to compute. However large, it is one: it counts at
    /// most as if it were all that there is to do.
    fn add(&mut self, seconds: f64, now: Instant) {
        self.value = self.now(now) + seconds.min(self.memory) / self.memory;
        self.at = now;
    }

    fn now(&self, now: Instant) -> f64 {
        let since = now.saturating_duration_since(self.at);
        self.value * (-since.as_secs_f64() / self.memory).exp()
    }
}

/// How much is asked for each second, of what can be done in one.
pub(crate) struct Load {
    lately: Average,
    lasting: Average,
    /// Seconds that a request takes, of the last twenty or so.
    usual: f64,
}

impl Load {
    /// Nobody has asked for anything.
    pub(crate) fn new(now: Instant) -> Self {
        Self {
            lately: Average::new(LATELY, now),
            lasting: Average::new(LASTING, now),
            usual: 0.0,
        }
    }

    /// Notes a request that takes so many seconds to compute.
    pub(crate) fn asked(&mut self, seconds: f64, now: Instant) {
        let (shortest, longest) = (LATELY.as_secs_f64(), LASTING.as_secs_f64());
        self.usual += 0.05 * (seconds.min(longest) - self.usual);
        self.lately.memory = (FEW * self.usual).clamp(shortest, longest);
        self.lately.add(seconds, now);
        self.lasting.add(seconds, now);
    }

    /// How far the way from what can be done to twice that, from 0 to 1: there, waiting makes no
    /// room any more, since callers are too many, and not only early. Beyond half the way it counts
    /// at once, before only where it lasts.
    pub(crate) fn excess(&self, now: Instant) -> f64 {
        let (lately, lasting) = (self.lately.now(now) - 1.0, self.lasting.now(now) - 1.0);
        let much = 2.0 * lately - 1.0;
        much.max(lately.min(lasting)).clamp(0.0, 1.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Requests of `seconds` each, `every` so long, for `whole` so long.
    fn after(seconds: f64, every: Duration, whole: Duration) -> (Load, Instant) {
        let mut now = Instant::now();
        let (mut load, end) = (Load::new(now), now + whole);
        while now < end {
            load.asked(seconds, now);
            now += every;
        }
        (load, now)
    }

    const STEP: Duration = Duration::from_millis(1);

    #[test]
    fn it_is_what_is_asked_for_in_a_second() {
        for asked in [0.5, 0.8, 1.5, 10.0] {
            let seconds = asked * STEP.as_secs_f64();
            let (load, now) = after(seconds, STEP, Duration::from_secs(60));
            for average in [&load.lately, &load.lasting] {
                let found = average.now(now);
                assert!((found / asked - 1.0).abs() < 0.01, "{asked}: {found}");
            }
            let excess = (asked - 1.0_f64).clamp(0.0, 1.0);
            assert!((load.excess(now) - excess).abs() < 0.02, "{asked}");
        }
    }

    #[test]
    fn a_little_too_much_must_last() {
        let seconds = 1.4 * STEP.as_secs_f64();
        let (load, now) = after(seconds, STEP, Duration::from_secs(2));
        assert_eq!(load.excess(now), 0.0);
        let (load, now) = after(seconds, STEP, Duration::from_secs(20));
        assert!((load.excess(now) - 0.4).abs() < 0.05);
    }

    #[test]
    fn ten_times_too_much_is_seen_at_once_and_forgotten_soon() {
        let seconds = 10.0 * STEP.as_secs_f64();
        for whole in [Duration::from_millis(75), Duration::from_secs(60)] {
            let (load, now) = after(seconds, STEP, whole);
            assert_eq!(load.excess(now), 1.0);
            assert_eq!(load.excess(now + Duration::from_secs(1)), 0.0);
        }
    }

    #[test]
    fn a_few_slow_requests_that_come_together_are_no_overload() {
        let every = Duration::from_millis(25);
        let (mut load, now) = after(0.020, every, Duration::from_secs(5));
        for _ in 0..3 {
            load.asked(0.060, now);
        }
        assert!(load.excess(now) < 0.5, "{}", load.excess(now));
        let (load, now) = after(0.200, every, Duration::from_secs(5));
        assert_eq!(load.excess(now), 1.0);
    }

    #[test]
    fn a_large_request_alone_is_no_overload() {
        let mut load = Load::new(Instant::now());
        load.asked(3600.0, load.lately.at);
        assert_eq!(load.excess(load.lately.at), 0.0);
    }
}
