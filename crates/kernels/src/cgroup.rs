//! The control groups that Linux counts this process in.

use std::fs;
use std::path::{Path, PathBuf};

/// A control group of this process, or one that holds it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ControlGroup {
    /// The folder with its files.
    pub folder: PathBuf,
    /// Whether its files are those of version 2.
    pub v2: bool,
}

/// The groups that limit this process's use of `controller` (`cpu`, `memory`), versions 1 and 2,
/// each on the way from its own to the outermost that can be seen. None where there are none.
///
/// `root` is `/`, or a folder that stands for it.
pub fn control_groups(root: &Path, controller: &str) -> Vec<ControlGroup> {
    let read = |name: &str| fs::read_to_string(root.join(name)).unwrap_or_default();
    let (own, mounts) = (read("proc/self/cgroup"), read("proc/self/mountinfo"));
    let mut groups = Vec::new();
    for line in own.lines() {
        // hierarchy-id:controllers:path, where v2 has no controllers.
        let mut fields = line.splitn(3, ':');
        let (Some(_), Some(controllers), Some(path)) =
            (fields.next(), fields.next(), fields.next())
        else {
            continue;
        };
        let v2 = controllers.is_empty();
        if !v2 && !controllers.split(',').any(|name| name == controller) {
            continue;
        }
        let Some((mount, mount_root)) = find_mount(&mounts, v2, controller) else {
            continue;
        };
        // A group outside of what is mounted here is seen at the mount point.
        let inside = Path::new(path)
            .strip_prefix(&mount_root)
            .unwrap_or(Path::new(""));
        let top = root.join(mount.strip_prefix("/").unwrap_or(&mount));
        let mut folder = top.join(inside);
        loop {
            groups.push(ControlGroup {
                folder: folder.clone(),
                v2,
            });
            if folder == top || !folder.pop() {
                break;
            }
        }
    }
    groups
}

/// Mount point and mounted root of the control groups that hold `controller`.
fn find_mount(mountinfo: &str, v2: bool, controller: &str) -> Option<(PathBuf, PathBuf)> {
    mountinfo.lines().find_map(|line| {
        // id parent major:minor root mount-point options [tags] - type source super-options
        let (left, right) = line.split_once(" - ")?;
        let mut left = left.split(' ').skip(3);
        let (mount_root, mount) = (left.next()?, left.next()?);
        let mut right = right.split(' ');
        let kind = right.next()?;
        let options = right.nth(1).unwrap_or("");
        let found = if v2 {
            kind == "cgroup2"
        } else {
            kind == "cgroup" && options.split(',').any(|option| option == controller)
        };
        found.then(|| (PathBuf::from(mount), PathBuf::from(mount_root)))
    })
}
