//! What asks a program to stop: Ctrl-C, and on Unix SIGTERM, which `kill`, systemd, containers and
//! batch systems send, and `mpirun`.

use anyhow::{Context, Result};

/// Runs `told` each time that this program is asked to stop, on a thread of its own. A terminal that
/// goes away (SIGHUP) is no such request: it ends the program, or under `nohup` does nothing.
///
/// # Errors
/// The system does not tell of signals.
#[cfg(unix)]
pub fn on_stop(mut told: impl FnMut() + Send + 'static) -> Result<()> {
    use signal_hook::consts::{SIGINT, SIGTERM};

    let signals = signal_hook::iterator::Signals::new([SIGINT, SIGTERM]);
    let mut signals = signals.context("cannot listen for Ctrl-C")?;
    let listen = move || signals.forever().for_each(|_| told());
    std::thread::Builder::new()
        .name("signals".to_owned())
        .spawn(listen)
        .context("cannot listen for Ctrl-C")?;
    Ok(())
}

/// Runs `told` each time that this program is asked to stop, on a thread of its own.
///
/// # Errors
/// The system does not tell of Ctrl-C.
#[cfg(not(unix))]
pub fn on_stop(told: impl FnMut() + Send + 'static) -> Result<()> {
    ctrlc::set_handler(told).context("cannot listen for Ctrl-C")
}
