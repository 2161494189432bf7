//! The processes that train one model together.
//!
//! The recipe's batch is the batch of all processes: each takes its share of the rows, and sums
//! over all of them make the gradient of the whole batch. Order, masks and steps are therefore
//! those of one process, whatever their number, and a run may be resumed by another number.
//!
//! Process 0 decides what depends on a clock or a signal, and it alone writes.

use crate::checksum::Checksum;
use crate::error::{Error, Result};
use crate::metrics::Sums;

/// How the processes of a run reach each other. Every method but [`Peers::rank`] and
/// [`Peers::count`] must be called by all of them, in the same order, and waits for the others.
pub trait Peers: Sync {
    /// This process's number, from 0.
    fn rank(&self) -> usize;

    /// How many processes there are.
    fn count(&self) -> usize;

    /// How many of them share this process's machine and its memory, this one included.
    fn on_this_machine(&self) -> usize {
        1
    }

    /// Replaces the values by their sums over all processes: the same bits in every process, or
    /// their weights would drift apart.
    ///
    /// # Errors
    /// Another process cannot be reached.
    fn sum(&self, values: &mut [f32]) -> Result<()>;

    /// As [`Peers::sum`], for a few values in double precision.
    ///
    /// # Errors
    /// Another process cannot be reached.
    fn sum_wide(&self, values: &mut [f64]) -> Result<()>;

    /// Replaces the values by those of process 0.
    ///
    /// # Errors
    /// Another process cannot be reached.
    fn follow(&self, values: &mut [u64]) -> Result<()>;

    /// The lowest number of a process that says it failed. The others may work for minutes before
    /// they call this, so it must wait without taking a processor.
    ///
    /// # Errors
    /// Another process cannot be reached.
    fn first_failure(&self, failed: bool) -> Result<Option<usize>>;
}

/// One process by itself: nothing is exchanged.
#[derive(Clone, Copy, Debug, Default)]
pub struct Alone;

impl Peers for Alone {
    fn rank(&self) -> usize {
        0
    }

    fn count(&self) -> usize {
        1
    }

    fn sum(&self, _values: &mut [f32]) -> Result<()> {
        Ok(())
    }

    fn sum_wide(&self, _values: &mut [f64]) -> Result<()> {
        Ok(())
    }

    fn follow(&self, _values: &mut [u64]) -> Result<()> {
        Ok(())
    }

    fn first_failure(&self, failed: bool) -> Result<Option<usize>> {
        Ok(failed.then_some(0))
    }
}

/// How many processes a launcher such as `mpirun` says it started with this one; `None` if none
/// did.
pub fn launched() -> Option<usize> {
    let number = |name| std::env::var(name).ok()?.parse().ok();
    // Open MPI; MPICH and Intel MPI; launchers that speak PMIx, of which Slurm tells the number.
    number("OMPI_COMM_WORLD_SIZE")
        .or_else(|| number("PMI_SIZE"))
        .or_else(|| {
            std::env::var_os("PMIX_RANK")?;
            Some(number("SLURM_STEP_NUM_TASKS").unwrap_or(1))
        })
}

/// The result, if no process failed; the lowest-numbered one that did keeps its error, so that it
/// is told once.
///
/// # Errors
/// This process's own, or [`Error::OtherProcess`] where a lower-numbered one failed.
pub fn agree<T>(peers: &dyn Peers, result: Result<T>) -> Result<T> {
    match peers.first_failure(result.is_err())? {
        Some(rank) if rank != peers.rank() => Err(Error::OtherProcess { rank }),
        _ => result,
    }
}

/// Does `work` in process 0 first and then in the others, so that they find what it wrote.
pub(crate) fn in_turn<T>(peers: &dyn Peers, work: impl FnOnce() -> Result<T>) -> Result<T> {
    if peers.rank() == 0 {
        let done = agree(peers, work())?;
        agree(peers, Ok(done))
    } else {
        agree(peers, Ok(()))?;
        agree(peers, work())
    }
}

/// Whether every process has the same of each thing, given by name and checksum.
///
/// # Errors
/// [`Error::ProcessDiffers`] in the first that does not.
pub(crate) fn same(peers: &dyn Peers, things: &[(&'static str, u64)]) -> Result<()> {
    if peers.count() == 1 {
        return Ok(());
    }
    let mut first: Vec<u64> = things.iter().map(|(_, sum)| *sum).collect();
    peers.follow(&mut first)?;
    let differs = things.iter().zip(&first).find(|((_, a), b)| a != *b);
    let result = match differs {
        None => Ok(()),
        Some(((what, _), _)) => Err(Error::ProcessDiffers {
            what,
            rank: peers.rank(),
        }),
    };
    agree(peers, result)
}

/// Whether every process has the same weights, by their bits. They change by the same gradients
/// everywhere, but processors of different kinds may round differently.
pub(crate) fn same_weights(
    peers: &dyn Peers,
    tensors: &[(String, Vec<usize>, Vec<f32>)],
) -> Result<()> {
    let mut sum = Checksum::new();
    if peers.count() > 1 {
        let values = tensors.iter().flat_map(|(_, _, values)| values);
        values.for_each(|value| sum.word(value.to_bits().into()));
    }
    same(peers, &[("weights", sum.finish())])
}

/// Sums what a step measured over all processes; gives the seconds of process 0.
pub(crate) fn sum_measures(peers: &dyn Peers, sums: &mut Sums, seconds: f64) -> Result<f64> {
    if peers.count() == 1 {
        return Ok(seconds);
    }
    // Counts stay far below 2^53. Steps, passes, pieces and pairs are those of the whole batch in
    // every process already.
    let mut values = [
        sums.masked_lm_loss,
        sums.order_loss,
        sums.masked_right as f64,
        sums.order_right as f64,
        if peers.rank() == 0 { seconds } else { 0.0 },
    ];
    peers.sum_wide(&mut values)?;
    [sums.masked_lm_loss, sums.order_loss] = [values[0], values[1]];
    [sums.masked_right, sums.order_right] = [values[2] as u64, values[3] as u64];
    Ok(values[4])
}
