//! The processes of a run that share a machine: who uses the same processors, and who has ended.

use std::fs;

/// A process of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Neighbour {
    rank: usize,
    id: u32,
    /// A checksum of the processors that it may run on; 0 where the system does not say.
    processors: u64,
}

impl Neighbour {
    /// This process, whose number among those of the run is `rank`.
    pub(crate) fn here(rank: usize) -> Neighbour {
        let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
        let mut lines = status.lines();
        let allowed = lines.find(|line| line.starts_with("Cpus_allowed_list:"));
        let mut sum = crate::checksum::Checksum::new();
        let bytes = allowed.unwrap_or_default().bytes();
        bytes.for_each(|byte| sum.word(byte.into()));
        Neighbour {
            rank,
            id: std::process::id(),
            processors: allowed.map_or(0, |_| sum.finish()),
        }
    }

    /// As numbers, to be sent.
    pub(crate) fn to_words(self) -> [u64; 3] {
        [self.rank as u64, self.id.into(), self.processors]
    }

    /// From what [`Neighbour::to_words`] gave.
    pub(crate) fn from_words(&[rank, id, processors]: &[u64; 3]) -> Neighbour {
        Neighbour {
            rank: rank as usize,
            id: id as u32,
            processors,
        }
    }

    /// Whether it has ended, as far as the system says: it is gone, or waits to be reaped.
    fn has_ended(&self) -> bool {
        if !fs::exists("/proc/self/stat").unwrap_or(false) {
            return false;
        }
        match fs::read_to_string(format!("/proc/{}/stat", self.id)) {
            // pid (name) state ...; a name may contain anything.
            Ok(stat) => stat
                .rsplit_once(") ")
                .is_none_or(|(_, rest)| rest.starts_with(['Z', 'X'])),
            Err(_) => true,
        }
    }
}

/// The processes of a run on this machine, in the order of their numbers.
#[derive(Clone, Debug)]
pub struct Neighbours {
    own: Neighbour,
    all: Vec<Neighbour>,
}

impl Neighbours {
    pub(crate) fn new(own: Neighbour, mut all: Vec<Neighbour>) -> Neighbours {
        all.sort_by_key(|process| process.rank);
        Neighbours { own, all }
    }

    /// How many there are, this process included.
    pub fn count(&self) -> usize {
        self.all.len()
    }

    /// How many come before this process.
    pub fn place(&self) -> usize {
        let before = |process: &&Neighbour| process.rank < self.own.rank;
        self.all.iter().filter(before).count()
    }

    /// How many may run on exactly the processors that this one may, itself included. A launcher
    /// that binds every process to processors of its own leaves it alone there.
    pub fn sharing_processors(&self) -> usize {
        let same = |process: &&Neighbour| process.processors == self.own.processors;
        self.all.iter().filter(same).count().max(1)
    }

    /// The numbers and process ids of those that have ended.
    pub fn ended(&self) -> Vec<(usize, u32)> {
        let ended = self.all.iter().filter(|process| process.has_ended());
        ended.map(|process| (process.rank, process.id)).collect()
    }

    /// Whether this process speaks for the run when some have ended: it is the first one left on
    /// the machine of process 0.
    pub fn speaks(&self, ended: &[(usize, u32)]) -> bool {
        let mut left = self
            .all
            .iter()
            .filter(|process| ended.iter().all(|(rank, _)| *rank != process.rank));
        self.all.first().is_some_and(|first| first.rank == 0) && left.next() == Some(&self.own)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_that_is_left_speaks() {
        let process = |rank, processors| Neighbour {
            rank,
            id: std::process::id(),
            processors,
        };
        let all = vec![process(2, 7), process(0, 7), process(1, 9)];
        let of = |rank| {
            let own = all.iter().find(|process| process.rank == rank);
            Neighbours::new(*own.expect("a process"), all.clone())
        };
        assert_eq!((of(0).count(), of(2).place()), (3, 2));
        assert_eq!(
            (of(0).sharing_processors(), of(1).sharing_processors()),
            (2, 1)
        );
        assert!(of(0).speaks(&[]) && !of(1).speaks(&[]));
        assert!(of(1).speaks(&[(0, 1)]) && !of(2).speaks(&[(0, 1)]));
        let elsewhere = Neighbours::new(process(3, 1), vec![process(3, 1), process(4, 1)]);
        assert!(!elsewhere.speaks(&[]), "process 0 runs on another machine");
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn an_ended_process_is_noticed() {
        let here = Neighbour::here(0);
        assert_eq!(Neighbour::from_words(&here.to_words()), here);
        let mut child = std::process::Command::new("sleep")
            .arg("60")
            .spawn()
            .expect("a process");
        let other = Neighbour {
            rank: 1,
            id: child.id(),
            ..here
        };
        let all = Neighbours::new(here, vec![here, other]);
        assert_eq!(all.ended(), []);
        child.kill().expect("a killed process");
        // Killed, but not reaped before `wait`.
        let start = std::time::Instant::now();
        while all.ended() != [(1, other.id)] {
            assert!(start.elapsed().as_secs() < 30, "a killed process has ended");
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
        child.wait().expect("a reaped process");
        assert_eq!(all.ended(), [(1, other.id)]);
    }
}
