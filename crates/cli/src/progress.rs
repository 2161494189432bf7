//! Progress on the standard error: one living line on a terminal, plain lines elsewhere.

use std::time::{Duration, Instant};

use console::Term;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::output;

/// Between two plain lines where there is no terminal.
const PLAIN_EVERY: Duration = Duration::from_secs(10);

/// One line that lives on a terminal, and comes every so often elsewhere.
struct Living {
    bar: ProgressBar,
    terminal: bool,
    last: Option<Instant>,
}

impl Living {
    fn new(length: Option<u64>, template: &str) -> Self {
        let terminal = Term::stderr().is_term();
        let bar = ProgressBar::with_draw_target(length, ProgressDrawTarget::stderr());
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style);
        }
        Self {
            bar,
            terminal,
            last: None,
        }
    }

    fn show(&mut self, message: &str) {
        if self.terminal {
            self.bar.set_message(message.to_owned());
            self.bar.tick();
        } else if self.last.is_none_or(|last| last.elapsed() >= PLAIN_EVERY) {
            self.last = Some(Instant::now());
            output::note(message);
        }
    }

    fn note(&self, message: &str) {
        self.bar.suspend(|| output::note(message));
    }
}

/// Work whose steps are told in words.
pub struct Steps(Living);

impl Steps {
    /// Nothing is shown before the first [`Steps::show`].
    pub fn new() -> Self {
        Self(Living::new(None, "{spinner} {elapsed} {wide_msg}"))
    }

    /// Says what is being done now.
    pub fn show(&mut self, message: &str) {
        self.0.show(message);
    }

    /// Prints a line that stays.
    pub fn note(&self, message: &str) {
        self.0.note(message);
    }

    /// Takes the living line away.
    pub fn finish(&self) {
        self.0.bar.finish_and_clear();
    }
}

/// Work whose end is known: a bar over a thousand parts.
#[cfg(feature = "train")]
pub struct Run(Living);

#[cfg(feature = "train")]
impl Run {
    /// An empty bar.
    pub fn new() -> Self {
        Self(Living::new(Some(1000), "{bar:20} {wide_msg}"))
    }

    /// Fills the bar to the share that is `done`, with the line behind it.
    pub fn show(&mut self, done: f64, message: &str) {
        self.0.bar.set_position((1000.0 * done) as u64);
        self.0.show(message);
    }

    /// Prints a line that stays.
    pub fn note(&self, message: &str) {
        self.0.note(message);
    }

    /// Takes the bar away.
    pub fn finish(&self) {
        self.0.bar.finish_and_clear();
    }
}

/// Seconds as a person says them.
pub fn duration(seconds: f64) -> String {
    if !seconds.is_finite() {
        return "unknown".to_owned();
    }
    let seconds = seconds.round() as u64;
    match (seconds / 3600, seconds / 60 % 60, seconds % 60) {
        (0, 0, seconds) => format!("{seconds} s"),
        (0, minutes, seconds) => format!("{minutes} min {seconds} s"),
        (hours, minutes, _) => format!("{hours} h {minutes} min"),
    }
}

#[cfg(test)]
mod tests {
    use super::duration;

    #[test]
    fn durations_read_well() {
        assert_eq!(duration(0.4), "0 s");
        assert_eq!(duration(61.0), "1 min 1 s");
        assert_eq!(duration(7322.0), "2 h 2 min");
        assert_eq!(duration(f64::INFINITY), "unknown");
    }
}
