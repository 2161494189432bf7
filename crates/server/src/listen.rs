//! Sockets: accepting, bounds on what a connection may take, ending.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::mpsc::SyncSender;
use std::time::{Duration, Instant};

use axum::{Extension, Router};
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use hyper_util::service::TowerToHyperService;
use prometheus_client::metrics::counter::Counter;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::time::timeout;
use tokio_io_timeout::TimeoutStream;

use crate::Error;
use crate::app::{App, TooLate};

/// Whoever has connected at the last moment has so long to send something.
const FIRST_BYTES: Duration = Duration::from_millis(100);

/// Whoever is agreeing on keys at the last moment has so long for it: some journeys there and back.
const HANDSHAKES: Duration = Duration::from_secs(1);

/// Whoever is connecting when no more connections are taken has so long for it: a journey there and
/// back.
const CONNECTING: Duration = Duration::from_millis(100);

/// Of those who come too late, so many are told at a time.
const TOLD_AT_ONCE: u32 = 64;

/// A server that listens, and is about to answer.
pub(crate) struct Server {
    app: Arc<App>,
    listener: TcpListener,
    address: SocketAddr,
    door: Door,
    /// Tells that everything is to be loaded anew.
    reloads: SyncSender<()>,
}

/// What a server is told while it runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// Load models, keys and certificate anew.
    Reload,
    /// End, once the requests that were accepted are answered.
    End,
}

impl Server {
    pub(crate) async fn bind(app: Arc<App>) -> std::result::Result<Self, Error> {
        let limits = app.options.limits.clone();
        let door = Door {
            router: app.router()?,
            app: Arc::clone(&app),
            places: Arc::new(Semaphore::new(
                limits.connections.min(Semaphore::MAX_PERMITS),
            )),
            graceful: GracefulShutdown::new(),
            handshakes: mpsc::channel(1),
            times: Times {
                header: Duration::from_secs(limits.header_seconds),
                write: Duration::from_secs(limits.body_seconds),
            },
            connections: app.metrics.connections.clone(),
        };
        let wanted = app.options.address;
        let bind = |error| Error::Bind {
            address: wanted,
            error,
        };
        let listener = TcpListener::bind(wanted).await.map_err(bind)?;
        let address = listener.local_addr().map_err(bind)?;
        Ok(Self {
            reloads: app.reloader()?,
            app,
            listener,
            address,
            door,
        })
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Answers until it is told to end. From then on it is not ready, and every answer closes its
    /// connection; after `notice_ms` whoever connects gets 503, and the call returns once all that
    /// was accepted before is answered, or after `drain_seconds`: `true` if nothing was cut off.
    pub(crate) async fn run(self, mut orders: tokio::sync::mpsc::Receiver<Order>) -> bool {
        let Self {
            app,
            listener,
            door,
            reloads,
            ..
        } = self;
        let limits = app.options.limits.clone();
        loop {
            tokio::select! {
                biased;
                order = orders.recv() => match order {
                    // It was told already, and has not begun, where there is no room.
                    Some(Order::Reload) => drop(reloads.try_send(())),
                    Some(Order::End) | None => break,
                },
                () = door.let_in(&listener) => {}
            }
        }
        // Whoever gives orders now is told that nobody takes them.
        drop((orders, reloads));
        app.leave();
        let notice = tokio::time::sleep(Duration::from_millis(limits.notice_ms));
        let mut notice = std::pin::pin!(notice);
        loop {
            tokio::select! {
                biased;
                () = &mut notice => break,
                () = door.let_in(&listener) => {}
            }
        }
        let listener = door.let_in_the_last(listener);
        let listener = listener.and_then(|listener| TcpListener::from_std(listener).ok());
        let late = door.for_the_late();
        let (own, mut others) = door.handshakes;
        drop(own);
        let drain = async {
            // Ends when the last copy is gone; nothing is ever sent.
            let _ = timeout(HANDSHAKES, others.recv()).await;
            // hyper closes a connection of which it has not read yet.
            tokio::time::sleep(FIRST_BYTES).await;
            let bound = Duration::from_secs(limits.drain_seconds);
            timeout(bound, door.graceful.shutdown()).await
        };
        let refuse = async || match &listener {
            Some(listener) => loop {
                late.let_in(listener).await;
            },
            None => std::future::pending::<Infallible>().await,
        };
        let drained = tokio::select! {
            drained = drain => drained,
            never = refuse() => match never {},
        };
        if let Some(listener) = &listener
            && take_no_more(listener)
        {
            let _ = timeout(CONNECTING, refuse()).await;
        }
        drop(listener.map(|listener| late.let_in_the_last(listener)));
        // They end by themselves once they are told.
        let told = match app.tls() {
            None => FIRST_BYTES,
            Some(_) => HANDSHAKES,
        };
        let _ = timeout(told, late.places.acquire_many(TOLD_AT_ONCE)).await;
        if drained.is_err() {
            let seconds = limits.drain_seconds;
            tracing::warn!(seconds, "connections were cut off");
        }
        let whole = drained.is_ok();
        let close = move || {
            // Joins the computing thread, which has nothing left to do then.
            if whole {
                app.batcher.close();
            }
            if let Some(traces) = &app.traces {
                traces.end();
            }
        };
        let closed = tokio::task::spawn_blocking(close).await;
        if !whole {
            return false;
        }
        let connections = door.connections.get();
        tracing::info!(connections, "all that was accepted is answered");
        closed.is_ok()
    }
}

/// What a connection may take for what it has to do.
#[derive(Clone, Copy)]
struct Times {
    /// To send a request's head.
    header: Duration,
    /// To take any part of an answer.
    write: Duration,
}

/// Where connections come in.
struct Door {
    router: Router,
    app: Arc<App>,
    places: Arc<Semaphore>,
    graceful: GracefulShutdown,
    /// Every TLS handshake that is under way has a copy of the sender.
    handshakes: (mpsc::Sender<()>, mpsc::Receiver<()>),
    times: Times,
    /// How many came in.
    connections: Counter,
}

impl Door {
    /// Lets the next connection in, once there is a place for one.
    async fn let_in(&self, listener: &TcpListener) {
        let Ok(place) = Arc::clone(&self.places).acquire_owned().await else {
            return;
        };
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                // Too many open files, say: it may pass, and must not take a core meanwhile.
                tracing::warn!(%error, "a connection could not be accepted");
                return tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        self.welcome(stream, place);
    }

    /// Lets in whoever has connected by now.
    fn let_in_the_last(&self, listener: TcpListener) -> Option<std::net::TcpListener> {
        // Asks the system itself: the runtime hears of connections a little later.
        let listener = listener.into_std().ok()?;
        let began = Instant::now();
        while let Ok((stream, _)) = listener.accept() {
            // Some callers come again as fast as they are let in.
            if began.elapsed() > FIRST_BYTES {
                break;
            }
            let place = Arc::clone(&self.places).try_acquire_owned();
            let stream = stream
                .set_nonblocking(true)
                .and_then(|()| TcpStream::from_std(stream));
            if let (Ok(stream), Ok(place)) = (stream, place) {
                self.welcome(stream, place);
            }
        }
        Some(listener)
    }

    /// Where those come in who connect while the others are answered, to hear that they are too late.
    fn for_the_late(&self) -> Self {
        Self {
            router: self.router.clone().layer(Extension(TooLate)),
            app: Arc::clone(&self.app),
            places: Arc::new(Semaphore::new(TOLD_AT_ONCE as usize)),
            graceful: GracefulShutdown::new(),
            handshakes: mpsc::channel(1),
            // Whoever says nothing keeps no other from being told.
            times: Times {
                header: HANDSHAKES,
                write: HANDSHAKES,
            },
            // They are not accepted.
            connections: Counter::default(),
        }
    }

    /// Answers a connection on a task of its own.
    fn welcome(&self, stream: TcpStream, place: OwnedSemaphorePermit) {
        self.connections.inc();
        // Answers are small and wanted at once.
        let _ = stream.set_nodelay(true);
        let (router, tls) = (self.router.clone(), self.app.tls());
        let (times, watcher) = (self.times, self.graceful.watcher());
        let under_way = self.handshakes.0.clone();
        tokio::spawn(async move {
            match tls {
                None => {
                    drop(under_way);
                    answer(stream, router, times, watcher).await;
                }
                Some(tls) => {
                    let agreed = timeout(times.header, tls.accept(stream)).await;
                    drop(under_way);
                    match agreed {
                        Ok(Ok(stream)) => answer(stream, router, times, watcher).await,
                        Ok(Err(error)) => tracing::debug!(%error, "no TLS"),
                        Err(_) => tracing::debug!("TLS took too long"),
                    }
                }
            }
            drop(place);
        });
    }
}

/// Has the system drop what opens new connections, while those that are being opened arrive: between
/// the last that is accepted and the listener's end none comes that would be open and unheard. Its
/// sender tries again a second later, with whoever listens then. Whether the system can: Linux can.
#[cfg(target_os = "linux")]
fn take_no_more(listener: &TcpListener) -> bool {
    use socket2::{SockFilter, SockRef};

    // Classic BPF over a packet from its TCP header on: `ldb [13]` are its flags, of which
    // `and #0x12` leaves SYN and ACK; `jeq #0x02` goes on to the next line for SYN alone, beyond it
    // for all else; `ret` says how many of its bytes may pass.
    const LINES: [(u16, u8, u8, u32); 5] = [
        (0x30, 0, 0, 13),
        (0x54, 0, 0, 0x12),
        (0x15, 0, 1, 0x02),
        (0x06, 0, 0, 0),
        (0x06, 0, 0, u32::MAX),
    ];
    let lines = LINES.map(|(code, yes, no, operand)| SockFilter::new(code, yes, no, operand));
    SockRef::from(listener).attach_filter(&lines).is_ok()
}

#[cfg(not(target_os = "linux"))]
fn take_no_more(_: &TcpListener) -> bool {
    false
}

/// Answers the requests of a connection.
async fn answer(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    router: Router,
    times: Times,
    watcher: Watcher,
) {
    let mut stream = TimeoutStream::new(stream);
    stream.set_write_timeout(Some(times.write));
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        // Also how long a connection may be idle between requests.
        .header_read_timeout(times.header)
        .max_buf_size(64 << 10)
        .serve_connection(
            TokioIo::new(Box::pin(stream)),
            TowerToHyperService::new(router),
        );
    // An error is the caller's: a reset, a head that is no HTTP, a time that ran out.
    if let Err(error) = watcher.watch(connection).await {
        tracing::debug!(%error, "a connection ended early");
    }
}
