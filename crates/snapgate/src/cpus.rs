//! CPUs for the workers: the affinity mask, the quota of the control group, and CPU lists.

use std::fs;
use std::path::{Path, PathBuf};

/// Upper limit of Linux' CPU numbers (`NR_CPUS` of the largest architecture).
const MAX_CPUS: usize = 8192;

/// CPUs that a process may use.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct AvailableCpus {
    /// CPUs of the affinity mask, in ascending order (sched_getaffinity(2)).
    pub allowed: Vec<usize>,
    /// CPU quota of the control group, in thousandths of a CPU.
    pub quota_millicpus: Option<u64>,
}

impl AvailableCpus {
    /// Returns the CPUs that the kernel allows for this process.
    pub fn of_this_process() -> Self {
        let mut allowed: Vec<usize> = core_affinity::get_core_ids()
            .unwrap_or_default()
            .into_iter()
            .map(|core| core.id)
            .collect();
        if allowed.is_empty() {
            allowed = (0..std::thread::available_parallelism().map_or(1, usize::from)).collect();
        }
        allowed.sort_unstable();
        Self {
            allowed,
            quota_millicpus: quota_millicpus(Path::new("/")),
        }
    }
}

/// Error in a CPU list.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub(crate) enum CpuListFault {
    /// An entry of the list.
    #[error("expected a CPU list, such as 0-3,8, or auto or none, got {0:?}")]
    NotACpu(String),
    #[error("the CPU range {0} is reversed; write the smaller number first")]
    Reversed(String),
    #[error("CPU {0} is too large; Linux numbers CPUs below {MAX_CPUS}")]
    TooLarge(String),
    #[error("CPU {0} is listed twice; use a different CPU for each worker")]
    Duplicate(usize),
}

/// Parses a list such as `0-3,8`, the format of cpuset(7). Returns the CPUs in the order of the list.
pub(crate) fn parse_list(text: &str) -> Result<Vec<usize>, CpuListFault> {
    let mut cpus = Vec::new();
    for part in text.split(',') {
        let (first, last) = match part.split_once('-') {
            Some((first, last)) => (parse_cpu(first, part)?, parse_cpu(last, part)?),
            None => {
                let cpu = parse_cpu(part, part)?;
                (cpu, cpu)
            }
        };
        if last < first {
            return Err(CpuListFault::Reversed(part.trim().to_owned()));
        }
        for cpu in first..=last {
            if cpus.contains(&cpu) {
                return Err(CpuListFault::Duplicate(cpu));
            }
            cpus.push(cpu);
        }
    }
    Ok(cpus)
}

fn parse_cpu(text: &str, part: &str) -> Result<usize, CpuListFault> {
    let digits = text.trim();
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(CpuListFault::NotACpu(part.trim().to_owned()));
    }
    digits
        .parse()
        .ok()
        .filter(|cpu| *cpu < MAX_CPUS)
        .ok_or_else(|| CpuListFault::TooLarge(digits.to_owned()))
}

/// Formats a list for [`parse_list`], with ranges for ascending runs.
pub(crate) fn format_list(cpus: &[usize]) -> String {
    let mut parts = Vec::new();
    let mut rest = cpus.iter().copied().peekable();
    while let Some(first) = rest.next() {
        let mut last = first;
        while let Some(next) = rest.next_if(|next| *next == last + 1) {
            last = next;
        }
        parts.push(if first == last {
            first.to_string()
        } else {
            format!("{first}-{last}")
        });
    }
    parts.join(",")
}

/// Returns the smallest CPU quota of the process's control group and its ancestors, in thousandths of a CPU.
///
/// The quota is in `cpu.max` for cgroup version 2, and in `cpu.cfs_quota_us` and `cpu.cfs_period_us` for version 1
/// (Documentation/admin-guide/cgroup-v2.rst and Documentation/scheduler/sched-bwc.rst of Linux). `root` is `/`, or a
/// directory in tests.
fn quota_millicpus(root: &Path) -> Option<u64> {
    let groups = fs::read_to_string(root.join("proc/self/cgroup")).ok()?;
    let mounts = fs::read_to_string(root.join("proc/self/mountinfo")).ok()?;
    let mounts: Vec<Mount<'_>> = mounts.lines().filter_map(Mount::parse).collect();
    groups
        .lines()
        .filter_map(|line| {
            // hierarchy:controllers:path (cgroups(7))
            let mut fields = line.splitn(3, ':');
            let (hierarchy, controllers, path) = (fields.next()?, fields.next()?, fields.next()?);
            let read_quota = match hierarchy {
                "0" => read_quota_v2,
                _ if has_word(controllers, "cpu") => read_quota_v1,
                _ => return None,
            };
            let mount = mounts
                .iter()
                .find(|mount| mount.is_version_2 == (hierarchy == "0"))?;
            mount
                .directories(root, path)
                .filter_map(|directory| read_quota(&directory))
                .min()
        })
        .min()
}

/// A mount of a control group hierarchy that can limit CPU time.
struct Mount<'a> {
    is_version_2: bool,
    /// The mounted group.
    group: &'a str,
    /// The mount point.
    directory: &'a str,
}

impl<'a> Mount<'a> {
    /// Parses a line of `/proc/self/mountinfo` (proc_pid_mountinfo(5)).
    fn parse(line: &'a str) -> Option<Self> {
        let (mount, file_system) = line.split_once(" - ")?;
        let mut mount = mount.split(' ').skip(3);
        let (group, directory) = (mount.next()?, mount.next()?);
        let mut file_system = file_system.split(' ');
        let is_version_2 = match file_system.next()? {
            "cgroup2" => true,
            "cgroup" if has_word(file_system.nth(1)?, "cpu") => false,
            _ => return None,
        };
        Some(Self {
            is_version_2,
            group,
            directory,
        })
    }

    /// Returns the directories of the control group at `path` and of its ancestors, up to the mount point.
    fn directories(&self, root: &Path, path: &str) -> impl Iterator<Item = PathBuf> {
        let top = root.join(self.directory.trim_start_matches('/'));
        // In a container without a cgroup namespace, `path` and `group` both start at the host's root. For a path
        // outside of the mount, only the mount point is readable.
        let inside = Path::new(path)
            .strip_prefix(self.group)
            .unwrap_or(Path::new(""));
        let inside = if inside.components().any(|part| part.as_os_str() == "..") {
            Path::new("")
        } else {
            inside
        };
        let levels: Vec<PathBuf> = inside.ancestors().map(|level| top.join(level)).collect();
        levels.into_iter()
    }
}

fn has_word(list: &str, word: &str) -> bool {
    list.split(',').any(|entry| entry == word)
}

/// Reads `cpu.max`: `QUOTA PERIOD` in microseconds, or `max PERIOD` without a quota.
fn read_quota_v2(directory: &Path) -> Option<u64> {
    let text = fs::read_to_string(directory.join("cpu.max")).ok()?;
    let mut fields = text.split_whitespace();
    millicpus(fields.next()?.parse().ok()?, fields.next()?.parse().ok()?)
}

/// Reads `cpu.cfs_quota_us`, which is -1 without a quota, and `cpu.cfs_period_us`.
fn read_quota_v1(directory: &Path) -> Option<u64> {
    let read = |name: &str| -> Option<u64> {
        fs::read_to_string(directory.join(name))
            .ok()?
            .trim()
            .parse()
            .ok()
    };
    millicpus(read("cpu.cfs_quota_us")?, read("cpu.cfs_period_us")?)
}

fn millicpus(quota_us: u64, period_us: u64) -> Option<u64> {
    quota_us.checked_mul(1000)?.checked_div(period_us)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn list_keeps_its_order() {
        assert_eq!(parse_list("0-3,8"), Ok(vec![0, 1, 2, 3, 8]));
        assert_eq!(parse_list(" 5 , 1-2"), Ok(vec![5, 1, 2]));
    }

    #[test]
    fn invalid_lists_are_rejected() {
        for text in [
            "", ",", "1,", "a", "1-", "-1", "1--2", "1-2-3", "+1", "0x1", "1.5",
        ] {
            assert!(
                matches!(parse_list(text), Err(CpuListFault::NotACpu(_))),
                "{text:?}"
            );
        }
        assert_eq!(
            parse_list("3-1"),
            Err(CpuListFault::Reversed("3-1".to_owned()))
        );
        assert_eq!(parse_list("0-2,1"), Err(CpuListFault::Duplicate(1)));
        assert_eq!(
            parse_list("0-99999999999999999999"),
            Err(CpuListFault::TooLarge("99999999999999999999".to_owned()))
        );
        assert_eq!(
            parse_list("8192"),
            Err(CpuListFault::TooLarge("8192".to_owned()))
        );
    }

    proptest! {
        #[test]
        fn formatted_list_is_parsed_back(cpus in proptest::collection::hash_set(0..MAX_CPUS, 1..40)) {
            let cpus: Vec<usize> = cpus.into_iter().collect();
            prop_assert_eq!(parse_list(&format_list(&cpus)), Ok(cpus));
        }

        #[test]
        fn no_text_panics(text in "[-0-9, a]{0,12}") {
            let _ = parse_list(&text);
        }
    }

    /// Creates a root directory with the given files.
    fn root(files: &[(&str, &str)]) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        root
    }

    const MOUNT_V2: &str =
        "31 23 0:28 / /sys/fs/cgroup rw,relatime shared:9 - cgroup2 cgroup2 rw,nsdelegate\n";
    const MOUNT_V1: &str = "\
        31 23 0:28 / /sys/fs/cgroup rw - tmpfs tmpfs rw,mode=755\n\
        33 31 0:30 / /sys/fs/cgroup/cpuset rw - cgroup cgroup rw,cpuset\n\
        32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n\
        34 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n";

    #[test]
    fn smallest_quota_of_nested_groups_applies() {
        let root = root(&[
            ("proc/self/cgroup", "0::/system.slice/snapgate.service\n"),
            ("proc/self/mountinfo", MOUNT_V2),
            ("sys/fs/cgroup/system.slice/cpu.max", "150000 100000\n"),
            (
                "sys/fs/cgroup/system.slice/snapgate.service/cpu.max",
                "400000 100000\n",
            ),
        ]);
        assert_eq!(quota_millicpus(root.path()), Some(1500));
    }

    #[test]
    fn group_without_limit_has_no_quota() {
        let root = root(&[
            ("proc/self/cgroup", "0::/a\n"),
            ("proc/self/mountinfo", MOUNT_V2),
            ("sys/fs/cgroup/a/cpu.max", "max 100000\n"),
        ]);
        assert_eq!(quota_millicpus(root.path()), None);
    }

    #[test]
    fn quota_of_version_1_is_read_from_the_cpu_controller() {
        let root = root(&[
            (
                "proc/self/cgroup",
                "3:cpuset:/other\n2:cpu,cpuacct:/app\n1:name=systemd:/\n0::/\n",
            ),
            ("proc/self/mountinfo", MOUNT_V1),
            ("sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us", "-1\n"),
            ("sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us", "100000\n"),
            ("sys/fs/cgroup/cpu,cpuacct/app/cpu.cfs_quota_us", "250000\n"),
            (
                "sys/fs/cgroup/cpu,cpuacct/app/cpu.cfs_period_us",
                "100000\n",
            ),
        ]);
        assert_eq!(quota_millicpus(root.path()), Some(2500));
    }

    #[test]
    fn quota_of_a_container_is_read_at_the_mount_point() {
        let root = root(&[
            ("proc/self/cgroup", "2:cpu:/docker/4711\n"),
            (
                "proc/self/mountinfo",
                "32 31 0:29 /docker/4711 /sys/fs/cgroup/cpu ro - cgroup cgroup rw,cpu\n",
            ),
            ("sys/fs/cgroup/cpu/cpu.cfs_quota_us", "50000\n"),
            ("sys/fs/cgroup/cpu/cpu.cfs_period_us", "100000\n"),
        ]);
        assert_eq!(quota_millicpus(root.path()), Some(500));
    }

    #[test]
    fn quota_outside_of_the_cgroup_namespace_is_read_at_the_mount_point() {
        let root = root(&[
            ("proc/self/cgroup", "0::/../sibling\n"),
            ("proc/self/mountinfo", MOUNT_V2),
            ("sys/fs/cgroup/cpu.max", "300000 100000\n"),
        ]);
        assert_eq!(quota_millicpus(root.path()), Some(3000));
    }

    #[test]
    fn quota_that_was_changed_is_read_anew() {
        let root = root(&[
            ("proc/self/cgroup", "0::/a\n"),
            ("proc/self/mountinfo", MOUNT_V2),
        ]);
        let group = root.path().join("sys/fs/cgroup/a");
        fs::create_dir_all(&group).unwrap();
        for (text, quota) in [
            ("400000 100000\n", Some(4000)),
            ("150000 100000\n", Some(1500)),
            ("20000 100000\n", Some(200)),
            ("max 100000\n", None),
        ] {
            fs::write(group.join("cpu.max"), text).unwrap();
            assert_eq!(quota_millicpus(root.path()), quota, "{text:?}");
        }
    }

    #[test]
    fn invalid_quota_is_ignored() {
        for text in [
            "",
            "100000",
            "100000 0",
            "-5 100000",
            "x y",
            "18446744073709551615 1",
        ] {
            let root = root(&[
                ("proc/self/cgroup", "0::/\n"),
                ("proc/self/mountinfo", MOUNT_V2),
                ("sys/fs/cgroup/cpu.max", text),
            ]);
            assert_eq!(quota_millicpus(root.path()), None, "{text:?}");
        }
    }

    #[test]
    fn no_quota_without_proc() {
        assert_eq!(quota_millicpus(root(&[]).path()), None);
    }

    #[test]
    fn this_process_has_allowed_cpus() {
        assert!(!AvailableCpus::of_this_process().allowed.is_empty());
    }
}
