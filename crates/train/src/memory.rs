//! How much memory a training step needs, and whether the machine has it.

use std::path::Path;

use albert_checkpoint::{Activation, AlbertConfig};
use albert_kernels::{ControlGroup, control_groups};

use crate::error::{Error, Result};

/// A forward and backward pass over this many rows of this length.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shape {
    /// Applications of layers.
    pub layers: usize,
    pub rows: usize,
    pub length: usize,
    /// The share of positions that are predicted.
    pub masked: f64,
}

/// Bytes a parameter between two steps, when nothing of the passes is kept: weights, gradients and both
/// moments, each also as one flat row for the optimiser, and packed for products, and a checkpoint of them. Measured
/// with rows of 16 tokens: 26 to 32 in steps alone, 50 to 55 with checkpoints.
const STILL_BYTES: u64 = 60;

/// Bytes that training on the CPU needs at its peak, which is that of the passes or, where weights
/// are many and rows few, that of the optimiser's step and of a checkpoint: [`STILL_BYTES`] a
/// parameter. From what the passes keep:
///
/// - a weight, its gradient, both moments, the gradient of one more use, and the weight packed for
///   products forwards and backwards: 28 bytes a parameter;
/// - a layer keeps, for each token and in 4 bytes a number, the projections (3 hidden), context,
///   attended, both norms' rows and results (4 hidden), the feed-forward network's two inner
///   matrices and its output; probabilities are computed again; dropout keeps two masks more, and
///   activations that are not fused some six matrices more;
/// - the backward pass of one layer holds gradients of about the same size as that layer;
/// - logits, their gradient and what becomes of it: three times masked positions by vocabulary;
/// - a fifth of all that more, which the allocator keeps between blocks of many sizes. Measured: peaks
///   of 0.69 to 0.94 times what this reckons, from 4 x 128 tokens on.
///
/// `albert bench train --json` prints this beside what a process really used; docs/performance.md
/// has the two side by side.
pub(crate) fn step_bytes(config: &AlbertConfig, shape: Shape) -> u64 {
    let parameters: usize = config.parameters().iter().map(|p| p.elements()).sum();
    let (hidden, inner) = (config.hidden_size, config.intermediate_size);
    let mut layer = 9 * hidden + 2 * inner;
    if config.hidden_dropout_prob > 0.0 {
        layer += 4 * hidden;
    }
    if config.hidden_act != Activation::GeluNew {
        layer += 6 * inner;
    }
    let layers = shape.layers * config.inner_group_num + 1;
    let tokens = (shape.rows * shape.length) as u64;
    let masked = (tokens as f64 * shape.masked).ceil() as u64;
    let activations = tokens * (layers * layer + 8 * config.embedding_size) as u64;
    let logits = 3 * masked * config.vocab_size as u64;
    let passes = 28 * parameters as u64 + 4 * (activations + logits) / 5 * 6;
    passes.max(STILL_BYTES * parameters as u64)
}

/// Refuses a batch that would not fit the memory at hand, shared by so many processes, and says
/// which would.
///
/// # Errors
/// [`Error::Memory`].
pub(crate) fn check(
    field: &str,
    config: &AlbertConfig,
    shape: Shape,
    processes: usize,
) -> Result<()> {
    match available(Path::new("/")) {
        Some(available) => check_against(available / processes as u64, field, config, shape),
        // Not every system tells.
        None => Ok(()),
    }
}

fn check_against(available: u64, field: &str, config: &AlbertConfig, shape: Shape) -> Result<()> {
    let needed = step_bytes(config, shape);
    if needed <= available {
        return Ok(());
    }
    let fits = |rows: usize| step_bytes(config, Shape { rows, ..shape }) <= available;
    let (mut most, mut too_many) = (0, shape.rows);
    while too_many - most > 1 {
        let middle = most + (too_many - most) / 2;
        if fits(middle) {
            most = middle;
        } else {
            too_many = middle;
        }
    }
    Err(Error::Memory {
        field: field.to_owned(),
        rows: shape.rows,
        length: shape.length,
        needed,
        available,
        fits: most,
    })
}

/// Bytes that this process may still take: what Linux says is available, or what the strictest of
/// its control groups or the bound on its addresses (`ulimit -v`) leaves, if that is less. `root` is
/// `/`.
fn available(root: &Path) -> Option<u64> {
    let meminfo = std::fs::read_to_string(root.join("proc/meminfo")).ok()?;
    let kilobytes = field(&meminfo, "MemAvailable:")?;
    let groups = control_groups(root, "memory");
    let left = groups
        .iter()
        .filter_map(left_in)
        .chain(addresses_left(root));
    Some(left.fold(kilobytes * 1024, u64::min))
}

/// What the bound on this process's addresses leaves, if there is one.
fn addresses_left(root: &Path) -> Option<u64> {
    let read = |name: &str| std::fs::read_to_string(root.join("proc/self").join(name)).ok();
    let limits = read("limits")?;
    let limit = limits
        .lines()
        .find_map(|line| line.strip_prefix("Max address space"))?;
    let limit: u64 = limit.split_whitespace().next()?.parse().ok()?;
    let taken = field(&read("status")?, "VmSize:")?;
    Some(limit.saturating_sub(taken * 1024))
}

/// What a control group leaves of its memory. Pages of files are given up before anything is refused, so
/// that they count as free; those that were read twice, such as a corpus's, are called active.
fn left_in(group: &ControlGroup) -> Option<u64> {
    let read = |name: &str| std::fs::read_to_string(group.folder.join(name)).ok();
    let number = |name: &str| -> Option<u64> { read(name)?.trim().parse().ok() };
    let (limit, used, of_all) = match group.v2 {
        true => ("memory.max", "memory.current", ""),
        false => ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_"),
    };
    let stat = read("memory.stat").unwrap_or_default();
    let pages = |name: &str| field(&stat, &format!("{of_all}{name}")).unwrap_or(0);
    let files = pages("inactive_file") + pages("active_file");
    let taken = number(used)?.saturating_sub(files);
    Some(number(limit)?.saturating_sub(taken))
}

/// The number behind a name at the beginning of a line.
fn field(text: &str, name: &str) -> Option<u64> {
    text.lines().find_map(|line| {
        let mut words = line.split_whitespace();
        (words.next()? == name).then(|| words.next()?.parse().ok())?
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHAPE: Shape = Shape {
        layers: 12,
        rows: 64,
        length: 512,
        masked: 0.15,
    };

    #[test]
    fn what_would_fit_is_told_and_fits() {
        let config = AlbertConfig::preset("base").expect("a preset");
        let gigabytes = |n: u64| n << 30;
        check_against(gigabytes(64), "stage[0].batch", &config, SHAPE).expect("enough");
        let error =
            check_against(gigabytes(4), "stage[0].batch", &config, SHAPE).expect_err("4 GB");
        let Error::Memory { fits, needed, .. } = &error else {
            panic!("{error}");
        };
        assert!(*needed > gigabytes(4) && *fits > 0 && *fits < 64);
        let shape = |rows| Shape { rows, ..SHAPE };
        assert!(step_bytes(&config, shape(*fits)) <= gigabytes(4));
        assert!(step_bytes(&config, shape(*fits + 1)) > gigabytes(4));
        let text = error.to_string();
        assert!(
            text.contains("stage[0].batch") && text.contains("accumulation"),
            "{text}"
        );
        let error = check_against(1 << 20, "batch", &config, SHAPE).expect_err("1 MB");
        assert!(error.to_string().contains("not even one row"), "{error}");
    }

    #[test]
    fn a_control_group_may_leave_less_than_the_machine() {
        let root = tempfile::tempdir().expect("a temporary folder");
        let write = |name: &str, text: &str| {
            let path = root.path().join(name);
            std::fs::create_dir_all(path.parent().expect("a folder")).expect("the folder");
            std::fs::write(path, text).expect("the file");
        };
        assert_eq!(available(root.path()), None);
        write(
            "proc/meminfo",
            "MemTotal: 4000 kB\nMemAvailable:    3000 kB\n",
        );
        assert_eq!(available(root.path()), Some(3_072_000));
        write(
            "proc/self/mountinfo",
            "30 20 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n",
        );
        write("proc/self/cgroup", "0::/jobs/one\n");
        write("sys/fs/cgroup/jobs/one/memory.max", "max\n");
        write("sys/fs/cgroup/jobs/one/memory.current", "500\n");
        assert_eq!(available(root.path()), Some(3_072_000));
        write("sys/fs/cgroup/jobs/memory.max", "2500\n");
        write("sys/fs/cgroup/jobs/memory.current", "700\n");
        assert_eq!(available(root.path()), Some(1800));
        write(
            "sys/fs/cgroup/jobs/memory.stat",
            "anon 300\nfile 400\ninactive_file 150\nactive_file 100\n",
        );
        assert_eq!(available(root.path()), Some(2050), "files can be given up");
        let limit = |limit: &str| {
            let name = "Max address space         ";
            write(
                "proc/self/limits",
                &format!("Limit Soft Limit\n{name}{limit} {limit} bytes\n"),
            );
        };
        write("proc/self/status", "Name:\talbert\nVmSize:\t      2 kB\n");
        limit("unlimited");
        assert_eq!(available(root.path()), Some(2050));
        limit("3000");
        assert_eq!(available(root.path()), Some(952), "2048 bytes are taken");
        limit("1000");
        assert_eq!(available(root.path()), Some(0));
    }
}
