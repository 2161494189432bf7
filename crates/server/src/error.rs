//! Why a server did not start, or goes on with what it had.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

/// What keeps a server from starting, or from loading anew what it was told.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A model's folder.
    #[error("model {name}: {error}")]
    Model {
        /// Its name.
        name: String,
        /// What is wrong with it.
        error: albert_tasks::Error,
    },
    /// Two models of one name.
    #[error("two models are called {0}")]
    TwoModels(String),
    /// Rows are to leave early, and no model lets them.
    #[error(
        "no model that is served has early exits, which a patience needs; `albert finetune classify \
         --early-exit` makes one that has"
    )]
    NoExits,
    /// The address is in use, or not this machine's.
    #[error("cannot listen on {address}: {error}")]
    Bind {
        /// The address.
        address: SocketAddr,
        /// What the system says.
        error: io::Error,
    },
    /// A limit of 0 lets nothing through.
    #[error("the limit `{0}` is 0: nothing could be answered")]
    Zero(&'static str),
    /// A limit beyond what a clock can count.
    #[error("the limit `{0}` is longer than a year")]
    Endless(&'static str),
    /// Not an origin as browsers write it.
    #[error("{0}: an origin is a scheme and a host, such as https://example.org, or *")]
    Origin(String),
    /// The keys of those who may ask.
    #[error("{}: {problem}", path.display())]
    Keys {
        /// The file.
        path: PathBuf,
        /// What is wrong with it; never a key.
        problem: String,
    },
    /// A certificate or its key.
    #[error("{}: {problem}", path.display())]
    Tls {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// Where traces cannot be sent.
    #[error("traces cannot be sent to {endpoint}: {why}")]
    Traces {
        /// The address.
        endpoint: String,
        /// What is wrong with it.
        why: String,
    },
    /// The system does not hand over its signals.
    #[error("signals cannot be listened to: {0}")]
    Signals(io::Error),
    /// The system gives no more threads.
    #[error("no thread could be started: {0}")]
    Thread(io::Error),
}
