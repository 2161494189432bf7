//! Sockets: accepting, bounds on what a connection may take, ending.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;

use crate::Error;
use crate::app::App;
use crate::config::Limits;

/// A server that listens, and is about to answer.
pub struct Server {
    app: Arc<App>,
    listener: TcpListener,
    address: SocketAddr,
}

/// What [`Server::run`] is told while it runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// Load all models anew.
    Reload,
    /// End, once the requests that were accepted are answered.
    End,
}

impl Server {
    pub(crate) async fn bind(app: Arc<App>) -> std::result::Result<Self, Error> {
        let wanted = app.options.address;
        let bind = |error| Error::Bind {
            address: wanted,
            error,
        };
        let listener = TcpListener::bind(wanted).await.map_err(bind)?;
        let address = listener.local_addr().map_err(bind)?;
        Ok(Self {
            app,
            listener,
            address,
        })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Answers until it is told to end. Then nothing new is accepted, what was accepted is
    /// answered within `drain_seconds`, and the call returns: `true` if nothing was cut off.
    ///
    /// # Errors
    /// An origin of `cors_origins` that is none.
    pub async fn run(
        self,
        mut orders: tokio::sync::mpsc::Receiver<Order>,
    ) -> std::result::Result<bool, Error> {
        let router = self.app.router()?;
        let limits = self.app.options.limits.clone();
        let places = Arc::new(Semaphore::new(limits.connections));
        let graceful = GracefulShutdown::new();
        loop {
            tokio::select! {
                biased;
                order = orders.recv() => match order {
                    Some(Order::Reload) => reload(&self.app),
                    Some(Order::End) | None => break,
                },
                accepted = accept(&self.listener, &places) => {
                    let Some((stream, place)) = accepted else { continue };
                    let connection = connection(stream, router.clone(), &limits);
                    let connection = graceful.watch(connection);
                    tokio::spawn(async move {
                        // An error is the caller's: a reset, a head that is no HTTP, a time that ran out.
                        if let Err(error) = connection.await {
                            tracing::debug!(%error, "a connection ended early");
                        }
                        drop(place);
                    });
                }
            }
        }
        self.app.drain();
        // Whoever waits to be accepted is told by a closed port, which balancers understand.
        drop(self.listener);
        let bound = Duration::from_secs(limits.drain_seconds);
        let drained = tokio::time::timeout(bound, graceful.shutdown()).await;
        if drained.is_err() {
            tracing::warn!(seconds = limits.drain_seconds, "connections were cut off");
        }
        let app = self.app;
        // Joins the computing thread, which may be within a batch.
        let closed = tokio::task::spawn_blocking(move || app.batcher.close()).await;
        Ok(drained.is_ok() && closed.is_ok())
    }
}

type Place = tokio::sync::OwnedSemaphorePermit;

/// The next connection, once there is a place for one.
async fn accept(
    listener: &TcpListener,
    places: &Arc<Semaphore>,
) -> Option<(tokio::net::TcpStream, Place)> {
    let place = Arc::clone(places).acquire_owned().await.ok()?;
    match listener.accept().await {
        Ok((stream, _)) => {
            // Answers are small and wanted at once.
            let _ = stream.set_nodelay(true);
            Some((stream, place))
        }
        Err(error) => {
            // Too many open files, say: it may pass, and must not take a core meanwhile.
            tracing::warn!(%error, "a connection could not be accepted");
            tokio::time::sleep(Duration::from_millis(50)).await;
            None
        }
    }
}

fn connection(
    stream: tokio::net::TcpStream,
    router: Router,
    limits: &Limits,
) -> http1::Connection<TokioIo<tokio::net::TcpStream>, TowerToHyperService<Router>> {
    http1::Builder::new()
        .timer(TokioTimer::new())
        // Also how long a connection may be idle between requests.
        .header_read_timeout(Duration::from_secs(limits.header_seconds))
        .max_buf_size(64 << 10)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router))
}

fn reload(app: &Arc<App>) {
    let app = Arc::clone(app);
    tokio::task::spawn_blocking(move || match app.reload() {
        Ok(()) => tracing::info!("all models were loaded anew"),
        Err(error) => tracing::error!(%error, "models were not loaded anew; those of before go on"),
    });
}
