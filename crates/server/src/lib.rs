//! ALBERT over HTTP: `albert serve`.
//!
//! Requests of any size are cut into rows; a thread computes the rows of many requests together
//! and hands the numbers back. Three dialects ask for the same: our own
//! (`/v1/classify` and others), OpenAI's (`/v1/embeddings`) and text-embeddings-inference's
//! (`/embed` and others); `/openapi.json` describes them, and `/` is a page to try them.
//!
//! What comes in is bounded by [`Limits`] in size, number and time; what is refused is told why as
//! RFC 9457 has it, by field and row. An answer has the same bits as on the command line.
//!
//! ```
//! use albert_server::{ModelSource, Order, ServeOptions, serve};
//!
//! let options = ServeOptions {
//!     address: "127.0.0.1:0".parse()?,
//!     models: vec![ModelSource {
//!         name: "mini".to_owned(),
//!         dir: "../../models/mini".into(),
//!         precision: None,
//!     }],
//!     ..ServeOptions::default()
//! };
//! let drained = serve(options, |address, orders| {
//!     println!("listening on {address}");
//!     // As SIGTERM does.
//!     orders.blocking_send(Order::End).ok();
//! })?;
//! assert!(drained);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod api;
mod app;
mod auth;
mod batcher;
mod body;
mod config;
mod error;
mod listen;
mod load;
mod metrics;
mod models;
mod page;
mod problem;
mod queue;
mod request_id;
mod signals;
mod texts;
mod tls;
mod traces;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::mpsc::{Sender, channel};

pub(crate) use app::{App, Turns};
pub use auth::Keys;
pub use config::{Limits, ServeOptions, TlsFiles};
pub use error::Error;
pub use listen::Order;
pub use models::ModelSource;

/// Serves until it is told to end, by an [`Order`] or by SIGTERM or SIGINT; SIGHUP loads models, keys and
/// certificate anew. `began` is called on a thread of its own once requests are answered, with the address and
/// the way to give orders. Returns whether all that was accepted was answered.
///
/// # Errors
/// A model that cannot be loaded, an address that cannot be had, options that contradict.
pub fn serve(
    options: ServeOptions,
    began: impl FnOnce(SocketAddr, Sender<Order>) + Send + 'static,
) -> Result<bool, Error> {
    let workers = std::thread::available_parallelism().map_or(1, usize::from);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(workers)
        // Those that prepare short and long requests, and one that waits for the computing thread to
        // end.
        .max_blocking_threads(2 * Turns::at_once(workers) + 1)
        .thread_name("http")
        .enable_all()
        .build()
        .map_err(Error::Thread)?;
    let (give, orders) = channel(8);
    let ended = runtime.block_on(async {
        let begun = Arc::new(AtomicBool::new(false));
        signals::obey(give.clone(), Arc::clone(&begun)).map_err(Error::Signals)?;
        let server = listen::Server::bind(App::new(options, workers)?).await?;
        let address = server.address();
        begun.store(true, Ordering::SeqCst);
        std::thread::Builder::new()
            .name("orders".to_owned())
            .spawn(move || began(address, give))
            .map_err(Error::Thread)?;
        Ok(server.run(orders).await)
    });
    // What was cut off is not waited for.
    runtime.shutdown_background();
    ended
}
