//! Keeps the memory of the process, which holds private keys, from other processes and out of core dumps.

use std::fs;
use std::io;

use rustix::process::{DumpableBehavior, Resource, Rlimit, set_dumpable_behavior, setrlimit};

/// Forbids core dumps and access by debuggers without CAP_SYS_PTRACE. The first call of the process, before there
/// is a secret.
///
/// - PR_SET_DUMPABLE 0: no core dump, also not to a program (`|` in core_pattern), and no ptrace or /proc/PID/mem for
///   processes of the same user.
/// - RLIMIT_CORE 0, which cannot be raised again: if something makes the process dumpable after all.
/// - coredump_filter 0: what is dumped all the same, as by root with gcore, has no memory mapping in it. It is
///   MADV_DONTDUMP for all memory at once, which is needed: every `Tunn` has a copy of the private key.
///
/// # Errors
/// The kernel refuses to make the process undumpable. The two others are tried in any case.
pub(crate) fn forbid_dumps() -> io::Result<()> {
    // First, because the file belongs to root afterwards. Without /proc it cannot be set.
    let _ = fs::write("/proc/self/coredump_filter", "0");
    let none = Rlimit {
        current: Some(0),
        maximum: Some(0),
    };
    let limited = setrlimit(Resource::Core, none);
    set_dumpable_behavior(DumpableBehavior::NotDumpable)?;
    Ok(limited?)
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use rustix::process::{dumpable_behavior, getrlimit};

    use super::*;

    #[test]
    fn a_process_forbids_dumps_of_itself() {
        // In a process of its own: others of this one's tests may want to be debugged.
        let output = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "hardening::tests::in_a_process_of_its_own"])
            .args(["--ignored", "--nocapture"])
            .output()
            .unwrap();
        assert!(output.status.success(), "{output:?}");
    }

    #[test]
    #[ignore = "it is the process that another test starts"]
    fn in_a_process_of_its_own() {
        forbid_dumps().unwrap();
        assert_eq!(dumpable_behavior().unwrap(), DumpableBehavior::NotDumpable);
        let limit = getrlimit(Resource::Core);
        assert_eq!((limit.current, limit.maximum), (Some(0), Some(0)));
        let filter = fs::read_to_string("/proc/self/coredump_filter").unwrap();
        assert_eq!(filter.trim(), "00000000");
    }
}
