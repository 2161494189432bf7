//! How a server runs.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use albert_tasks::engine::EarlyExit;
use serde::Deserialize;

use crate::auth::Keys;
use crate::models::ModelSource;

/// Everything that a server is told before it starts.
#[derive(Clone, Debug)]
pub struct ServeOptions {
    /// Where it listens. Port 0 takes a free one.
    pub address: SocketAddr,
    /// What it serves.
    pub models: Vec<ModelSource>,
    /// Threads of a forward pass; without it, what the process may use.
    pub threads: Option<usize>,
    /// When rows leave the classifiers that have early exits; without it, they go through all
    /// layers.
    pub early_exit: Option<EarlyExit>,
    /// Bounds on requests.
    pub limits: Limits,
    /// Who may ask; everyone where there are none.
    pub keys: Keys,
    /// The file that `keys` are from, to be read anew with the models.
    pub key_file: Option<PathBuf>,
    /// Origins whose pages may ask (CORS): none, some, or any by `*`.
    pub cors_origins: Vec<String>,
    /// With which certificate it speaks TLS; plain HTTP without.
    pub tls: Option<TlsFiles>,
    /// Where a collector of OpenTelemetry takes traces, such as `http://localhost:4318/v1/traces`; none
    /// are made without.
    pub traces: Option<String>,
    /// Whether the log has what requests say, too.
    pub log_texts: bool,
    /// How long the models run before the server is ready, each a short row; those whose turn comes
    /// later do not.
    pub warmup: Duration,
}

impl Default for ServeOptions {
    fn default() -> Self {
        Self {
            // Nobody but this machine, unless told.
            address: SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 8080),
            models: Vec::new(),
            threads: None,
            early_exit: None,
            limits: Limits::default(),
            keys: Keys::default(),
            key_file: None,
            cors_origins: Vec::new(),
            tls: None,
            traces: None,
            log_texts: false,
            warmup: Duration::from_secs(10),
        }
    }
}

/// Where a server's certificate lies, in PEM.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TlsFiles {
    /// The certificate, and those between it and a root that callers know.
    pub certificate: PathBuf,
    /// Its private key.
    pub key: PathBuf,
}

/// Bounds that hold whatever comes in.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// Bytes of a body.
    pub body_bytes: usize,
    /// Bytes of the bodies of all requests together; beyond, 429.
    pub bodies_bytes: usize,
    /// Texts of a request.
    pub rows: usize,
    /// Characters of a text.
    pub characters: usize,
    /// Classes of a zero-shot request.
    pub labels: usize,
    /// Connections at a time; others wait to be accepted.
    pub connections: usize,
    /// Requests at a time; others are refused with 429.
    pub requests: usize,
    /// Tokens that may be ahead of a request in the queue; with more, it is refused with 429.
    pub queue_tokens: usize,
    /// Milliseconds that a request may wait before it is computed, by what the model was seen to
    /// do, and four times as long as its rows beyond the first take; with 429 if it were more. That
    /// is for requests that come in a burst, or while the machine does less than usual.
    pub queue_ms: u64,
    /// The same while twice as much is asked for as can be done, or more, if it is less: who is answered
    /// then is answered soon. In between, something in between: beyond 1.5 times at once, before once it
    /// lasts. Who waits for longer all the same, by more than a batch takes, gets 429 then, as long as
    /// others are refused.
    pub overload_ms: u64,
    /// Milliseconds after which a 429 is told: whoever asks again at once takes the less of the
    /// processor.
    pub refusal_ms: u64,
    /// Characters of all texts of a request that are only cut into pieces: the answer is longer by far.
    pub tokenize_characters: usize,
    /// Candidates of a `fill-mask` request: masks times `top`.
    pub candidates: usize,
    /// Tokens of a batch.
    pub batch_tokens: usize,
    /// Milliseconds that a batch should take at most; it may have 192 tokens however long they take.
    pub batch_ms: u64,
    /// Seconds for a request's headers to arrive; an idle connection is closed after as many.
    pub header_seconds: u64,
    /// Seconds for a body to arrive.
    pub body_seconds: u64,
    /// Seconds from the body's arrival to the answer.
    pub request_seconds: u64,
    /// Milliseconds between the order to end, from which on the server is not ready, and the end of
    /// accepting: time for those who send requests to notice.
    pub notice_ms: u64,
    /// Seconds that requests have to end from then on.
    pub drain_seconds: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            body_bytes: 10 << 20,
            bodies_bytes: 256 << 20,
            rows: 4096,
            characters: 1_000_000,
            labels: 64,
            connections: 4096,
            requests: 1024,
            queue_tokens: 65_536,
            queue_ms: 1000,
            overload_ms: 10,
            refusal_ms: 50,
            tokenize_characters: 200_000,
            candidates: 20_000,
            batch_tokens: 4096,
            batch_ms: 10,
            header_seconds: 15,
            body_seconds: 30,
            request_seconds: 60,
            notice_ms: 250,
            drain_seconds: 30,
        }
    }
}

impl Limits {
    /// The first bound of time that is longer than a year: the clock cannot count as far as some are.
    pub(crate) fn endless(&self) -> Option<&'static str> {
        const YEAR: u64 = 365 * 24 * 60 * 60;
        [
            ("header_seconds", self.header_seconds > YEAR),
            ("body_seconds", self.body_seconds > YEAR),
            ("request_seconds", self.request_seconds > YEAR),
            ("drain_seconds", self.drain_seconds > YEAR),
            ("notice_ms", self.notice_ms / 1000 > YEAR),
            ("queue_ms", self.queue_ms / 1000 > YEAR),
            ("overload_ms", self.overload_ms / 1000 > YEAR),
            ("refusal_ms", self.refusal_ms / 1000 > YEAR),
            ("batch_ms", self.batch_ms / 1000 > YEAR),
        ]
        .into_iter()
        .find_map(|(name, endless)| endless.then_some(name))
    }

    /// The first bound that lets nothing through.
    pub(crate) fn zero(&self) -> Option<&'static str> {
        [
            ("body_bytes", self.body_bytes == 0),
            ("bodies_bytes", self.bodies_bytes == 0),
            ("rows", self.rows == 0),
            ("characters", self.characters == 0),
            ("labels", self.labels == 0),
            ("connections", self.connections == 0),
            ("requests", self.requests == 0),
            ("queue_tokens", self.queue_tokens == 0),
            ("tokenize_characters", self.tokenize_characters == 0),
            ("candidates", self.candidates == 0),
            ("batch_tokens", self.batch_tokens == 0),
            ("batch_ms", self.batch_ms == 0),
            ("header_seconds", self.header_seconds == 0),
            ("body_seconds", self.body_seconds == 0),
            ("request_seconds", self.request_seconds == 0),
        ]
        .into_iter()
        .find_map(|(name, zero)| zero.then_some(name))
    }
}
