//! The processes of a run that `mpirun` started, by MPI.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use albert_kernels::available_threads;
use mpi::collective::SystemOperation;
use mpi::environment::{Threading, Universe, initialize_with_threading};
use mpi::topology::SimpleCommunicator;
use mpi::traits::{Communicator, CommunicatorCollectives, Root};

use crate::error::{Error, Result};
use crate::neighbours::{Neighbour, Neighbours};
use crate::peers::{Peers, launched};

/// Values that are summed at once: 16 MB, so that a library that counts in 31 bits can count them
/// and one buffer for the sums stays small beside the gradients.
const CHUNK: usize = 1 << 22;

/// Between two looks whether the others have come.
const PAUSE: Duration = Duration::from_millis(5);

/// All processes of this run, by MPI. Dropped, it waits for the others to be dropped as well.
///
/// MPI's own errors cannot be caught here: the library ends every process of the run.
pub struct MpiPeers {
    universe: Universe,
    rank: usize,
    count: usize,
    neighbours: Neighbours,
    /// All know that one has failed.
    failure_agreed: AtomicBool,
}

impl MpiPeers {
    /// Starts MPI, once in a process and on the thread that will drop this; `None` where no
    /// launcher such as `mpirun` started this process.
    ///
    /// # Errors
    /// [`Error::Mpi`]: MPI was started before, or cannot be called from more than one thread.
    pub fn start() -> Result<Option<MpiPeers>> {
        if launched().is_none() {
            return Ok(None);
        }
        // Training runs on a thread of the pool, this on the main one; never both at once.
        let Some((universe, threading)) = initialize_with_threading(Threading::Serialized) else {
            let message = "was started in this process before".to_owned();
            return Err(Error::Mpi { message });
        };
        if threading < Threading::Serialized {
            let message = "this library cannot be called from more than one thread".to_owned();
            return Err(Error::Mpi { message });
        }
        let world = universe.world();
        Ok(Some(MpiPeers {
            rank: world.rank() as usize,
            count: world.size() as usize,
            neighbours: neighbours(&world),
            failure_agreed: AtomicBool::new(false),
            universe,
        }))
    }

    /// The processes on this machine.
    pub fn neighbours(&self) -> &Neighbours {
        &self.neighbours
    }

    /// This process's share of the processors that it may use, at least 1.
    pub fn threads(&self) -> usize {
        (available_threads() / self.neighbours.sharing_processors()).max(1)
    }

    /// Leaves: together with the others, or, after an error that they do not know of, by ending
    /// them too, since they would wait for ever.
    pub fn leave(self, failed: bool) {
        if failed && !self.failure_agreed.load(Ordering::Relaxed) {
            self.universe.world().abort(1);
        }
    }
}

impl Drop for MpiPeers {
    fn drop(&mut self) {
        if std::thread::panicking() {
            // As a panic ends a program.
            self.universe.world().abort(101);
        }
    }
}

impl Peers for MpiPeers {
    fn rank(&self) -> usize {
        self.rank
    }

    fn count(&self) -> usize {
        self.count
    }

    fn on_this_machine(&self) -> usize {
        self.neighbours.count().max(1)
    }

    /// Summed in process 0 and sent from there. `MPI_Allreduce` may add in another order in each
    /// process, and then weights would part in their last bits.
    fn sum(&self, values: &mut [f32]) -> Result<()> {
        let world = self.universe.world();
        let root = world.process_at_rank(0);
        let mut sums = vec![0.0_f32; values.len().min(CHUNK)];
        for chunk in values.chunks_mut(CHUNK) {
            if self.rank == 0 {
                let sums = &mut sums[..chunk.len()];
                root.reduce_into_root(chunk, sums, SystemOperation::sum());
                chunk.copy_from_slice(sums);
            } else {
                root.reduce_into(chunk, SystemOperation::sum());
            }
            root.broadcast_into(chunk);
        }
        Ok(())
    }

    fn sum_wide(&self, values: &mut [f64]) -> Result<()> {
        let world = self.universe.world();
        let root = world.process_at_rank(0);
        if self.rank == 0 {
            let mut sums = vec![0.0_f64; values.len()];
            root.reduce_into_root(values, sums.as_mut_slice(), SystemOperation::sum());
            values.copy_from_slice(&sums);
        } else {
            root.reduce_into(values, SystemOperation::sum());
        }
        root.broadcast_into(values);
        Ok(())
    }

    fn follow(&self, values: &mut [u64]) -> Result<()> {
        let world = self.universe.world();
        world.process_at_rank(0).broadcast_into(values);
        Ok(())
    }

    fn first_failure(&self, failed: bool) -> Result<Option<usize>> {
        let world = self.universe.world();
        // Blocking calls of MPI look for messages without a pause.
        let mut waiting = world.immediate_barrier();
        while let Err(still) = waiting.test() {
            std::thread::sleep(PAUSE);
            waiting = still;
        }
        let own = if failed { self.rank } else { self.count } as u64;
        let mut lowest = own;
        world.all_reduce_into(&own, &mut lowest, SystemOperation::min());
        let lowest = Some(lowest as usize).filter(|&rank| rank < self.count);
        if lowest.is_some() {
            self.failure_agreed.store(true, Ordering::Relaxed);
        }
        Ok(lowest)
    }
}

/// Asks the processes on this machine who they are.
fn neighbours(world: &SimpleCommunicator) -> Neighbours {
    let local = world.split_shared(world.rank());
    let own = Neighbour::here(world.rank() as usize);
    let mut all = vec![0_u64; 3 * local.size() as usize];
    local.all_gather_into(&own.to_words()[..], &mut all[..]);
    let all = all.as_chunks::<3>().0.iter().map(Neighbour::from_words);
    Neighbours::new(own, all.collect())
}
