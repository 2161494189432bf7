//! How many threads to use, and the pool that runs them.

use std::fs;
use std::path::Path;

use crate::cgroup::control_groups;
use crate::training::memory::keep_freed;

/// Why a [`ThreadPool`] could not be made.
#[derive(Debug, thiserror::Error)]
pub enum ThreadPoolError {
    /// Zero threads were asked for.
    #[error("a thread pool needs at least one thread, 0 were asked for")]
    NoThreads,
    /// The operating system refused to start the threads.
    #[error("cannot start {threads} threads: {reason}")]
    Start {
        /// How many threads were asked for.
        threads: usize,
        /// What the operating system said.
        reason: String,
    },
}

/// A pool of threads for the kernels of this crate.
///
/// A kernel splits its work over the pool inside whose [`install`](ThreadPool::install) it is
/// called. Results do not depend on the number of threads: each element is computed by one thread,
/// in an order that depends on the shapes of its own row alone.
pub struct ThreadPool {
    pool: rayon::ThreadPool,
}

impl ThreadPool {
    /// Starts `threads` threads, or [`available_threads`] of them.
    ///
    /// # Errors
    /// If `threads` is zero or the operating system refuses to start them.
    pub fn new(threads: Option<usize>) -> Result<Self, ThreadPoolError> {
        let threads = threads.unwrap_or_else(available_threads);
        if threads == 0 {
            return Err(ThreadPoolError::NoThreads);
        }
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(threads)
            .thread_name(|index| format!("albert-{index}"))
            .build()
            .map_err(|error| ThreadPoolError::Start {
                threads,
                reason: error.to_string(),
            })?;
        Ok(ThreadPool { pool })
    }

    /// The same, for learning: memory that one step frees is kept for the next, by the whole process.
    ///
    /// # Errors
    /// As [`new`](ThreadPool::new).
    pub fn for_training(threads: Option<usize>) -> Result<Self, ThreadPoolError> {
        // Before the threads are there: each would come with a heap of its own.
        keep_freed();
        Self::new(threads)
    }

    /// Number of threads in the pool.
    pub fn threads(&self) -> usize {
        self.pool.current_num_threads()
    }

    /// Runs `work` on a thread of the pool and waits for its result.
    pub fn install<R: Send>(&self, work: impl FnOnce() -> R + Send) -> R {
        self.pool.install(work)
    }
}

/// Number of threads that this process can really run at once, at least 1.
///
/// On Linux the smaller of the CPUs in the process's affinity mask and the CPU quota of its control
/// groups (v1 and v2, the strictest on the way to the root), a fractional quota rounded up. A
/// container that may use 1.5 CPUs of a host of 64 therefore gets 2 threads, not 64. Elsewhere what
/// the operating system reports.
pub fn available_threads() -> usize {
    let counted = if cfg!(target_os = "linux") {
        threads_seen_from(Path::new("/"))
    } else {
        None
    };
    counted
        .or_else(|| std::thread::available_parallelism().ok().map(usize::from))
        .unwrap_or(1)
}

/// [`available_threads`] of a Linux whose root folder is `root`; `None` if it does not say.
fn threads_seen_from(root: &Path) -> Option<usize> {
    let status = fs::read_to_string(root.join("proc/self/status")).ok()?;
    let allowed = status
        .lines()
        .find_map(|line| line.strip_prefix("Cpus_allowed_list:"))
        .and_then(|list| count_cpus(list.trim()))?;
    let quota = cgroup_quota(root).unwrap_or(usize::MAX);
    Some(allowed.min(quota).max(1))
}

/// Number of CPUs in a list such as `0-3,8,10-11`.
fn count_cpus(list: &str) -> Option<usize> {
    list.split(',')
        .map(|part| match part.split_once('-') {
            Some((first, last)) => {
                let (first, last): (usize, usize) = (first.parse().ok()?, last.parse().ok()?);
                Some((last + 1).checked_sub(first)?)
            }
            None => part.parse::<usize>().ok().map(|_| 1),
        })
        .sum()
}

/// The strictest CPU quota of the control groups that this process is in, in whole CPUs.
fn cgroup_quota(root: &Path) -> Option<usize> {
    let groups = control_groups(root, "cpu").into_iter();
    let quotas = groups.filter_map(|group| match group.v2 {
        true => quota_v2(&group.folder),
        false => quota_v1(&group.folder),
    });
    quotas.min()
}

/// Quota in `cpu.max`: `max 100000`, or microseconds of CPU time a period.
fn quota_v2(folder: &Path) -> Option<usize> {
    let text = fs::read_to_string(folder.join("cpu.max")).ok()?;
    let mut fields = text.split_whitespace();
    let quota: u64 = fields.next()?.parse().ok()?;
    let period: u64 = fields.next()?.parse().ok()?;
    whole_cpus(quota, period)
}

/// Quota in `cpu.cfs_quota_us`, -1 for none, and `cpu.cfs_period_us`.
fn quota_v1(folder: &Path) -> Option<usize> {
    let read = |name: &str| fs::read_to_string(folder.join(name)).ok();
    let quota: u64 = read("cpu.cfs_quota_us")?.trim().parse().ok()?;
    let period: u64 = read("cpu.cfs_period_us")?.trim().parse().ok()?;
    whole_cpus(quota, period)
}

fn whole_cpus(quota: u64, period: u64) -> Option<usize> {
    (quota > 0 && period > 0).then(|| usize::try_from(quota.div_ceil(period)).unwrap_or(usize::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Writes `files` under a fresh folder and counts threads as if that were the root.
    fn threads_with(files: &[(&str, &str)]) -> Option<usize> {
        let root = tempfile::tempdir().unwrap();
        for (name, text) in files {
            let path = root.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        threads_seen_from(root.path())
    }

    const STATUS: (&str, &str) = ("proc/self/status", "Name:\tx\nCpus_allowed_list:\t0-15\n");
    const MOUNT_V2: (&str, &str) = (
        "proc/self/mountinfo",
        "30 23 0:26 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw,nsdelegate\n",
    );
    const MOUNT_V1: (&str, &str) = (
        "proc/self/mountinfo",
        "31 23 0:27 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n\
         32 23 0:28 /docker/abc /sys/fs/cgroup/cpu,cpuacct rw master:9 - cgroup cgroup rw,cpu,cpuacct\n",
    );

    #[test]
    fn cpu_lists_are_counted() {
        assert_eq!(count_cpus("0-3,8,10-11"), Some(7));
        assert_eq!(count_cpus("5"), Some(1));
        assert_eq!(count_cpus("3-1"), None);
        assert_eq!(count_cpus(""), None);
    }

    #[test]
    fn affinity_alone() {
        assert_eq!(threads_with(&[STATUS]), Some(16));
    }

    #[test]
    fn fractional_quota_is_rounded_up_v2() {
        let group = ("proc/self/cgroup", "0::/app/worker\n");
        let unlimited = ("sys/fs/cgroup/app/worker/cpu.max", "max 100000\n");
        let parent = ("sys/fs/cgroup/app/cpu.max", "150000 100000\n");
        let threads = threads_with(&[STATUS, MOUNT_V2, group, unlimited, parent]);
        assert_eq!(threads, Some(2), "the parent's 1.5 CPUs bind");
    }

    #[test]
    fn quota_in_a_container_v1() {
        let group = (
            "proc/self/cgroup",
            "5:memory:/docker/abc\n4:cpu,cpuacct:/docker/abc\n",
        );
        let quota = ("sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us", "250000\n");
        let period = ("sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us", "100000\n");
        let threads = threads_with(&[STATUS, MOUNT_V1, group, quota, period]);
        assert_eq!(threads, Some(3));
        let none = ("sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us", "-1\n");
        let threads = threads_with(&[STATUS, MOUNT_V1, group, none, period]);
        assert_eq!(threads, Some(16));
    }

    #[test]
    fn quota_below_one_cpu_gives_one_thread() {
        let group = ("proc/self/cgroup", "0::/\n");
        let quota = ("sys/fs/cgroup/cpu.max", "20000 100000\n");
        assert_eq!(threads_with(&[STATUS, MOUNT_V2, group, quota]), Some(1));
    }

    #[test]
    fn this_machine_has_a_thread() {
        assert!(available_threads() >= 1);
    }

    #[test]
    fn a_pool_has_the_threads_asked_for() {
        let pool = ThreadPool::new(Some(3)).unwrap();
        assert_eq!(pool.threads(), 3);
        assert_eq!(pool.install(rayon::current_num_threads), 3);
        assert!(matches!(
            ThreadPool::new(Some(0)),
            Err(ThreadPoolError::NoThreads)
        ));
    }
}
