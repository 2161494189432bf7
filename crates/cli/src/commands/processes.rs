//! The process that pretrains, or the several that `mpirun` started to do it together.

use std::path::Path;

use albert_train::{Alone, Error, Peers, peers};
use anyhow::Result;
#[cfg(feature = "mpi")]
use {
    crate::output,
    albert_train::{MpiPeers, Neighbours},
    std::path::PathBuf,
    std::sync::atomic::{AtomicBool, Ordering},
    std::time::Duration,
};

/// Whether this process leaves the others already, which wait for it to say so.
#[cfg(feature = "mpi")]
static LEAVING: AtomicBool = AtomicBool::new(false);

/// The processes of this run.
pub struct Processes {
    #[cfg(feature = "mpi")]
    mpi: Option<MpiPeers>,
}

impl Processes {
    /// Finds the others; without `mpirun` there are none.
    ///
    /// # Errors
    /// There are others, and this program was built without MPI or cannot use it.
    #[cfg(feature = "mpi")]
    pub fn find() -> Result<Processes> {
        let mpi = MpiPeers::start()?;
        Ok(Processes { mpi })
    }

    /// Finds the others; without `mpirun` there are none.
    ///
    /// # Errors
    /// There are others, and this program was built without MPI.
    #[cfg(not(feature = "mpi"))]
    pub fn find() -> Result<Processes> {
        match peers::launched() {
            Some(count) if count > 1 => anyhow::bail!(
                "{count} processes were started together, but this program was built without \
                 `--features mpi`: each would train a model of its own"
            ),
            _ => Ok(Processes {}),
        }
    }

    /// How they reach each other.
    pub fn peers(&self) -> &dyn Peers {
        #[cfg(feature = "mpi")]
        if let Some(mpi) = &self.mpi {
            return mpi;
        }
        &Alone
    }

    /// The result, if every process has one.
    ///
    /// # Errors
    /// As [`peers::agree`].
    pub fn agree<T>(&self, result: albert_train::Result<T>) -> albert_train::Result<T> {
        peers::agree(self.peers(), result)
    }

    /// Threads for this process, where it shares a machine.
    pub fn threads(&self) -> Option<usize> {
        #[cfg(feature = "mpi")]
        if let Some(mpi) = &self.mpi {
            return Some(mpi.threads());
        }
        None
    }

    /// How many processes on this machine come before this one.
    #[cfg(feature = "cuda")]
    pub fn place(&self) -> usize {
        #[cfg(feature = "mpi")]
        if let Some(mpi) = &self.mpi {
            return mpi.neighbours().place();
        }
        0
    }

    /// What answers a signal in one of several processes that write to `output`.
    #[cfg(feature = "mpi")]
    pub fn watch(&self, output: &Path) -> Option<Watch> {
        let mpi = self.mpi.as_ref().filter(|mpi| mpi.count() > 1)?;
        Some(Watch {
            neighbours: mpi.neighbours().clone(),
            count: mpi.count(),
            output: output.to_owned(),
        })
    }

    /// What answers a signal in one of several processes: here is only one.
    #[cfg(not(feature = "mpi"))]
    pub fn watch(&self, _output: &Path) -> Option<Watch> {
        None
    }

    /// Ends this process's part. An error that another process tells is not told again; one that
    /// the others do not know of ends them.
    ///
    /// # Errors
    /// This process's own.
    pub fn leave(self, outcome: Result<()>) -> Result<()> {
        #[cfg(feature = "mpi")]
        LEAVING.store(true, Ordering::SeqCst);
        let told = |error: &anyhow::Error| {
            let error = error.downcast_ref::<Error>();
            matches!(error, Some(Error::OtherProcess { .. }))
        };
        let told = outcome.as_ref().is_err_and(told);
        #[cfg(feature = "mpi")]
        if let Some(mpi) = self.mpi {
            match &outcome {
                Err(error) if !told && mpi.count() > 1 => {
                    let (rank, chain) = (mpi.rank(), output::chain(error));
                    output::note(&format!("error in process {rank}: {chain}"));
                    mpi.leave(true);
                    std::process::exit(1);
                }
                _ => mpi.leave(false),
            }
        }
        if told {
            std::process::exit(1);
        }
        outcome
    }
}

/// No process has others without MPI.
#[cfg(not(feature = "mpi"))]
pub enum Watch {}

#[cfg(not(feature = "mpi"))]
impl Watch {
    /// Never called.
    pub fn signalled(&self, _again: bool) {
        match *self {}
    }
}

/// Answers the signals of one of several processes.
///
/// `mpirun` sends SIGTERM to every process when it is itself told to stop, and when one of them
/// has died; a second or so later it kills them.
#[cfg(feature = "mpi")]
pub struct Watch {
    neighbours: Neighbours,
    count: usize,
    output: PathBuf,
}

#[cfg(feature = "mpi")]
impl Watch {
    /// Says why the run ends and how it can go on; after a death, leaves, since the others would
    /// be waited for in vain.
    pub fn signalled(&self, again: bool) {
        if LEAVING.load(Ordering::SeqCst) {
            // Of a failure that was told: whoever told it has just ended first.
            return;
        }
        let ended = self.neighbours.ended();
        if self.neighbours.speaks(&ended) && (!again || !ended.is_empty()) {
            output::note(&self.message(&ended));
        } else if !ended.is_empty() {
            // Not to be counted among the dead by the one that speaks.
            std::thread::sleep(Duration::from_millis(300));
        }
        if !ended.is_empty() {
            std::process::exit(1);
        }
    }

    fn message(&self, ended: &[(usize, u32)]) -> String {
        let folder = self.output.display();
        let saved = match self.output.join("training/state.safetensors").exists() {
            true => format!(
                "the last checkpoint is in {folder}, go on with --resume and any number of \
                 processes"
            ),
            false => format!("there is no checkpoint in {folder} yet, begin anew"),
        };
        if ended.is_empty() {
            return format!(
                "stopping, on a signal or because a process on another machine has died: saving \
                 a checkpoint first, if there is time; if not, {saved}"
            );
        }
        let names: Vec<String> = ended
            .iter()
            .map(|(rank, id)| format!("process {rank} of {} (id {id})", self.count))
            .collect();
        let verb = if ended.len() == 1 { "has" } else { "have" };
        format!(
            "error: {} {verb} died, so the run ends: {saved}",
            names.join(", ")
        )
    }
}
