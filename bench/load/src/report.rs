//! What came back.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use serde::Serialize;

use crate::connection::Answer;

/// Counts and latencies. A latency is from when a request was due to the end of its answer.
#[derive(Serialize)]
pub(crate) struct Report {
    /// The rate that was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    offered_per_s: Option<f64>,
    /// The rate at which requests went out while they were due.
    sent_per_s: f64,
    /// Answers of 200 a second, to the last of them.
    accepted_per_s: f64,
    /// How often each status came, and what came instead of one.
    statuses: BTreeMap<String, usize>,
    /// Refusals with 429 that do not say when to ask again.
    without_retry_after: usize,
    /// Of the answers of 200, in milliseconds.
    #[serde(flatten)]
    latency: Option<Latency>,
    /// Answers of 200 in each whole quarter of a second of those in which requests were sent.
    accepted_by_quarter: Vec<usize>,
    #[serde(skip)]
    began: Instant,
    #[serde(skip)]
    sent: usize,
    #[serde(skip)]
    in_time: usize,
    #[serde(skip)]
    accepted: Vec<Duration>,
}

#[derive(Serialize)]
struct Latency {
    p50_ms: f64,
    p99_ms: f64,
    most_ms: f64,
}

impl Report {
    pub(crate) fn new(offered_per_s: Option<f64>) -> Self {
        Self {
            offered_per_s,
            sent_per_s: 0.0,
            accepted_per_s: 0.0,
            statuses: BTreeMap::new(),
            without_retry_after: 0,
            latency: None,
            accepted_by_quarter: Vec::new(),
            began: Instant::now(),
            sent: 0,
            in_time: 0,
            accepted: Vec::new(),
        }
    }

    /// Counts a request, sent while others were due or after, and returns how many were before it.
    pub(crate) fn sent(&mut self, in_time: bool) -> usize {
        self.in_time += usize::from(in_time);
        self.sent += 1;
        self.sent - 1
    }

    pub(crate) fn answered(&mut self, latency: Duration, answer: &Answer) {
        self.count(answer.status.to_string());
        match answer.status {
            200 => {
                self.accepted.push(latency);
                let quarter = (self.began.elapsed().as_millis() / 250) as usize;
                if quarter >= self.accepted_by_quarter.len() {
                    self.accepted_by_quarter.resize(quarter + 1, 0);
                }
                self.accepted_by_quarter[quarter] += 1;
            }
            429 if !answer.retry_after => self.without_retry_after += 1,
            _ => {}
        }
    }

    pub(crate) fn failed(&mut self, how: &str) {
        self.count(how.to_owned());
    }

    fn count(&mut self, what: String) {
        *self.statuses.entry(what).or_default() += 1;
    }

    /// The whole, of so many requests that were due: as many as were sent, unless told.
    pub(crate) fn ended(mut self, due: Option<usize>, seconds: f64, took: Duration) -> Self {
        let counted: usize = self.statuses.values().sum();
        let missing = due.unwrap_or(self.sent).saturating_sub(counted);
        if missing > 0 {
            self.statuses.insert("no answer".to_owned(), missing);
        }
        self.sent_per_s = self.in_time as f64 / seconds;
        self.accepted_per_s = self.accepted.len() as f64 / took.as_secs_f64();
        self.accepted_by_quarter.resize((4.0 * seconds) as usize, 0);
        self.accepted.sort_unstable();
        self.latency = self.accepted.last().map(|most| Latency {
            p50_ms: self.quantile(0.5),
            p99_ms: self.quantile(0.99),
            most_ms: most.as_secs_f64() * 1e3,
        });
        self
    }

    /// In milliseconds, of sorted latencies.
    fn quantile(&self, share: f64) -> f64 {
        let last = self.accepted.len() - 1;
        let at = (share * self.accepted.len() as f64) as usize;
        self.accepted[at.min(last)].as_secs_f64() * 1e3
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_due_and_not_answered_is_missing() {
        let mut report = Report::new(Some(4.0));
        let answer = |status| Answer {
            status,
            retry_after: false,
            closes: false,
        };
        for ms in 1..=100 {
            report.sent(true);
            report.answered(Duration::from_millis(ms), &answer(200));
        }
        report.sent(true);
        report.answered(Duration::from_millis(500), &answer(429));
        report.sent(true);
        report.failed("cut off");
        let report = report.ended(Some(103), 2.0, Duration::from_secs(4));
        let json = serde_json::to_value(&report).unwrap();
        assert_eq!(
            json["statuses"],
            serde_json::json!({"200": 100, "429": 1, "cut off": 1, "no answer": 1})
        );
        assert_eq!(json["without_retry_after"], 1);
        assert_eq!(
            (&json["p50_ms"], &json["p99_ms"]),
            (&51.0.into(), &100.0.into())
        );
        assert_eq!(
            (&json["sent_per_s"], &json["accepted_per_s"]),
            (&51.0.into(), &25.0.into())
        );
        assert_eq!(
            json["accepted_by_quarter"],
            serde_json::json!([100, 0, 0, 0, 0, 0, 0, 0])
        );
    }
}
