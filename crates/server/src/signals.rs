//! What the system tells a process.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::mpsc::Sender;

use crate::listen::Order;

/// Turns signals into orders: SIGTERM and SIGINT (Ctrl-C) end, SIGHUP loads everything anew. A
/// second SIGINT or SIGTERM ends the process at once, and so does the first before the server has
/// `begun`, when nothing was accepted yet.
#[cfg(unix)]
pub(crate) fn obey(orders: Sender<Order>, begun: Arc<AtomicBool>) -> io::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};

    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut hang_up = signal(SignalKind::hangup())?;
    tokio::spawn(async move {
        let mut ending = false;
        loop {
            let order = tokio::select! {
                _ = terminate.recv() => Order::End,
                _ = interrupt.recv() => Order::End,
                _ = hang_up.recv() => Order::Reload,
            };
            match order {
                Order::End if ending => std::process::exit(1),
                Order::End if !begun.load(Ordering::SeqCst) => std::process::exit(0),
                Order::End => ending = true,
                Order::Reload => {}
            }
            // Nobody listens any more while requests are drained.
            let _ = orders.send(order).await;
        }
    });
    Ok(())
}

/// The same for Ctrl-C alone, which is all that there is.
#[cfg(not(unix))]
pub(crate) fn obey(orders: Sender<Order>, begun: Arc<AtomicBool>) -> io::Result<()> {
    tokio::spawn(async move {
        while tokio::signal::ctrl_c().await.is_ok() {
            if !begun.load(Ordering::SeqCst) {
                std::process::exit(0);
            }
            if orders.send(Order::End).await.is_err() {
                std::process::exit(1);
            }
        }
    });
    Ok(())
}
