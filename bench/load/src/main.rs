//! A load generator that takes little of the cores that it shares with the server it measures:
//! one thread for the sockets, one that keeps the time.

mod arrivals;
mod connection;
mod report;

use std::cell::RefCell;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use clap::Parser;
use tokio::task::{JoinSet, LocalSet};

use crate::arrivals::{Arrivals, Line, keep_time};
use crate::connection::{Answer, Connection};
use crate::report::Report;

/// Sends requests to an HTTP server and prints what came back, as JSON.
#[derive(Parser)]
struct Args {
    /// Where the server listens.
    address: SocketAddr,
    /// The route.
    path: String,
    /// A body a line; sent in turn, over and over.
    #[arg(long)]
    bodies: PathBuf,
    /// For how long requests are sent.
    #[arg(long)]
    seconds: f64,
    /// Connections, each of which has one request under way.
    #[arg(long, default_value_t = 64)]
    connections: usize,
    /// Requests a second. Without it each connection sends the next once the last is answered.
    #[arg(long)]
    rate: Option<f64>,
    /// When requests of a rate come: at random (Poisson), or in even steps.
    #[arg(long, value_enum, default_value_t = Arrivals::Random)]
    arrivals: Arrivals,
    /// How long answers are waited for after the last request.
    #[arg(long, default_value_t = 120.0)]
    patience: f64,
}

fn main() -> Result<()> {
    let args = Args::parse();
    ensure!(args.seconds > 0.0, "--seconds must be more than 0");
    ensure!(args.connections > 0, "--connections must be more than 0");
    ensure!(
        args.rate.is_none_or(|rate| rate > 0.0),
        "--rate must be more than 0"
    );
    let requests = requests(&args)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let report = LocalSet::new().block_on(&runtime, all(&args, requests.into()));
    println!("{}", serde_json::to_string(&report)?);
    Ok(())
}

/// The requests as they go over the wire.
fn requests(args: &Args) -> Result<Vec<Vec<u8>>> {
    let bodies = read(&args.bodies)?;
    let request = |body: &str| {
        let head = format!(
            "POST {} HTTP/1.1\r\nHost: {}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
            args.path,
            args.address,
            body.len()
        );
        (head + body).into_bytes()
    };
    Ok(bodies.lines().map(request).collect())
}

fn read(path: &Path) -> Result<String> {
    let bodies = std::fs::read_to_string(path).with_context(|| path.display().to_string())?;
    ensure!(!bodies.is_empty(), "{}: no body in it", path.display());
    Ok(bodies)
}

/// What every connection has at hand.
struct Shared {
    address: SocketAddr,
    requests: Rc<[Vec<u8>]>,
    /// Requests that are due; none where connections do not wait for them.
    line: Option<Arc<Line>>,
    /// When the last request is sent.
    until: Instant,
    report: RefCell<Report>,
}

async fn all(args: &Args, requests: Rc<[Vec<u8>]>) -> Report {
    let began = Instant::now();
    let until = began + Duration::from_secs_f64(args.seconds);
    let line = args.rate.map(|rate| {
        let line = Arc::new(Line::default());
        keep_time(&line, args.arrivals.times(rate, began, until));
        line
    });
    let shared = Rc::new(Shared {
        address: args.address,
        requests,
        line,
        until,
        report: RefCell::new(Report::new(args.rate)),
    });
    let mut callers = JoinSet::new();
    for _ in 0..args.connections {
        callers.spawn_local(call(Rc::clone(&shared)));
    }
    let answered = async { while callers.join_next().await.is_some() {} };
    let patience = Duration::from_secs_f64(args.seconds + args.patience);
    // Those that are still unanswered then are counted by what is missing.
    let _ = tokio::time::timeout(patience, answered).await;
    let report = std::mem::replace(&mut *shared.report.borrow_mut(), Report::new(None));
    let due = shared.line.as_ref().map(|line| line.due());
    report.ended(due, args.seconds, began.elapsed())
}

/// A caller: one request after another, on one connection as long as it lasts.
async fn call(shared: Rc<Shared>) {
    let mut connection: Option<Connection> = None;
    loop {
        let due = match &shared.line {
            Some(line) => match line.next().await {
                Some(due) => due,
                None => return,
            },
            None => Instant::now(),
        };
        if shared.line.is_none() && due >= shared.until {
            return;
        }
        let in_time = Instant::now() < shared.until;
        let number = shared.report.borrow_mut().sent(in_time);
        let request = &shared.requests[number % shared.requests.len()];
        match ask(&shared, &mut connection, request).await {
            Ok(answer) => shared.report.borrow_mut().answered(due.elapsed(), &answer),
            Err(how) => shared.report.borrow_mut().failed(how),
        }
    }
}

/// An answer on the connection that was kept, or else on a new one, which is kept if it may be.
async fn ask(
    shared: &Shared,
    kept: &mut Option<Connection>,
    request: &[u8],
) -> std::result::Result<Answer, &'static str> {
    if let Some(mut open) = kept.take() {
        match open.ask(request).await {
            Ok(answer) => {
                *kept = (!answer.closes).then_some(open);
                return Ok(answer);
            }
            Err(_) if open.has_said_something() => return Err("cut off"),
            // It was closed since the last answer, as is every server's right.
            Err(_) => {}
        }
    }
    let Ok(mut open) = Connection::open(shared.address).await else {
        // As a caller would, rather than at once and for ever.
        tokio::time::sleep(Duration::from_millis(100)).await;
        return Err("no connection");
    };
    let answer = open.ask(request).await.map_err(|_| "cut off")?;
    *kept = (!answer.closes).then_some(open);
    Ok(answer)
}
