//! How long a run lasts, how far it is, and the learning rate there.

use crate::recipe::{Decay, ScheduleRecipe};

/// How long each stage of a run lasts.
#[derive(Clone, Debug, PartialEq)]
pub enum Budget {
    /// Optimiser steps of each stage: what is learned is the same in every run.
    Steps(Vec<u64>),
    /// Seconds of each stage: how much is learned depends on the machine.
    Seconds(Vec<f64>),
}

/// How far a run is.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Clock {
    /// Optimiser steps taken.
    pub step: u64,
    /// Seconds spent, those before a resumption included.
    pub seconds: f64,
}

impl Budget {
    /// The share of the whole run that is done, from 0 to 1.
    pub fn done(&self, clock: Clock) -> f64 {
        let share = match self {
            Budget::Steps(stages) => clock.step as f64 / stages.iter().sum::<u64>() as f64,
            Budget::Seconds(stages) => clock.seconds / stages.iter().sum::<f64>(),
        };
        share.clamp(0.0, 1.0)
    }

    /// The stage that the run is in, or `None` at its end.
    pub fn stage(&self, clock: Clock) -> Option<usize> {
        match self {
            Budget::Steps(stages) => stage_at(stages.iter().map(|&n| n as f64), clock.step as f64),
            Budget::Seconds(stages) => stage_at(stages.iter().copied(), clock.seconds),
        }
    }
}

fn stage_at(stages: impl Iterator<Item = f64>, at: f64) -> Option<usize> {
    let mut end = 0.0;
    for (i, length) in stages.enumerate() {
        end += length;
        if at < end {
            return Some(i);
        }
    }
    None
}

/// The learning rate of the step at `clock`, for a highest rate of `peak`.
///
/// As in Google's `optimization.py`: in the warm-up the rate climbs in a straight line to the
/// highest; from there on it lies on the line from that rate at the run's beginning to zero at
/// its end. (There the first step has rate zero; here it has the line's next point.)
pub fn rate(peak: f64, schedule: &ScheduleRecipe, budget: &Budget, clock: Clock) -> f64 {
    if clock.step < schedule.warmup_steps {
        return peak * (clock.step + 1) as f64 / schedule.warmup_steps as f64;
    }
    match schedule.decay {
        Decay::Linear => peak * (1.0 - budget.done(clock)),
        Decay::None => peak,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(step: u64) -> Clock {
        Clock {
            step,
            seconds: step as f64,
        }
    }

    #[test]
    fn the_published_schedule() {
        let schedule = ScheduleRecipe {
            warmup_steps: 3125,
            decay: Decay::Linear,
        };
        let budget = Budget::Steps(vec![125_000]);
        let rate = |step| rate(0.00176, &schedule, &budget, at(step));
        assert_eq!(rate(0), 0.00176 / 3125.0);
        assert_eq!(rate(3124), 0.00176);
        assert_eq!(rate(62_500), 0.00088);
        assert_eq!(rate(125_000), 0.0);
        let constant = ScheduleRecipe {
            decay: Decay::None,
            ..schedule
        };
        assert_eq!(
            super::rate(0.00176, &constant, &budget, at(62_500)),
            0.00176
        );
    }

    #[test]
    fn stages_follow_each_other() {
        for budget in [Budget::Steps(vec![10, 5]), Budget::Seconds(vec![10.0, 5.0])] {
            let stages = [0, 9, 10, 14, 15].map(|step| budget.stage(at(step)));
            assert_eq!(stages, [Some(0), Some(0), Some(1), Some(1), None]);
            assert_eq!(budget.done(at(3)), 0.2);
        }
    }
}
