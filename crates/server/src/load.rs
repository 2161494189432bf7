//! How much is asked for, held against what can be done.

use std::time::{Duration, Instant};

/// What was asked for longer ago than this hardly counts.
const MEMORY: Duration = Duration::from_millis(100);

/// Seconds of computing that are asked for each second, of late.
pub(crate) struct Load {
    value: f64,
    at: Instant,
}

impl Load {
    /// Nobody has asked for anything.
    pub(crate) fn new(now: Instant) -> Self {
        Self {
            value: 0.0,
            at: now,
        }
    }

    /// Notes a request that takes so many seconds to compute. However large, it is one: it counts at
    /// most as if it were all that there is to do.
    pub(crate) fn asked(&mut self, seconds: f64, now: Instant) {
        let memory = MEMORY.as_secs_f64();
        self.value = self.now(now) + seconds.min(memory) / memory;
        self.at = now;
    }

    /// How far the way from what can be done to twice that, from 0 to 1: there, waiting makes no
    /// room any more, since callers are too many, and not only early.
    pub(crate) fn excess(&self, now: Instant) -> f64 {
        (self.now(now) - 1.0).clamp(0.0, 1.0)
    }

    fn now(&self, now: Instant) -> f64 {
        let since = now.saturating_duration_since(self.at);
        self.value * (-since.as_secs_f64() / MEMORY.as_secs_f64()).exp()
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
            let (load, now) = after(seconds, STEP, Duration::from_secs(5));
            let found = load.now(now);
            assert!((found / asked - 1.0).abs() < 0.01, "{asked}: {found}");
            let excess = (asked - 1.0_f64).clamp(0.0, 1.0);
            assert!((load.excess(now) - excess).abs() < 0.02, "{asked}");
        }
    }

    #[test]
    fn ten_times_too_much_is_seen_at_once_and_forgotten_soon() {
        let seconds = 10.0 * STEP.as_secs_f64();
        let (load, now) = after(seconds, STEP, Duration::from_millis(75));
        assert_eq!(load.excess(now), 1.0);
        assert_eq!(load.excess(now + Duration::from_secs(1)), 0.0);
    }

    #[test]
    fn a_large_request_alone_is_no_overload() {
        let mut load = Load::new(Instant::now());
        load.asked(3600.0, load.at);
        assert_eq!(load.excess(load.at), 0.0);
    }
}
