//! Protects the memory of the process, which holds private keys, from other processes and core dumps.

use std::fs;
use std::io;

use rustix::process::{DumpableBehavior, Resource, Rlimit, set_dumpable_behavior, setrlimit};

/// Forbids core dumps and access by debuggers without CAP_SYS_PTRACE. Call it first, before the process has a secret.
///
/// - PR_SET_DUMPABLE 0: no core dump, not even to a program (`|` in core_pattern), and no ptrace or /proc/PID/mem for
///   processes of the same user.
/// - RLIMIT_CORE 0, which cannot be raised again: in case something makes the process dumpable.
/// - coredump_filter 0: a dump that is made anyway, as by root with gcore, has no memory mapping in it. It acts like
///   MADV_DONTDUMP for all memory, which is needed because every `Tunn` has a copy of the private key.
///
/// # Errors
///
/// The kernel refuses to make the process undumpable. The other two are attempted first.
pub(crate) fn forbid_dumps() -> io::Result<()> {
    // First, because the file belongs to root afterwards. It does not exist without /proc.
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
    fn forbidding_dumps_takes_effect() {
        // In another process: other tests of this one may have to be debugged.
        let output = Command::new(std::env::current_exe().unwrap())
            .args([
                "--exact",
                "hardening::tests::forbidding_dumps_in_this_process",
            ])
            .args(["--ignored", "--nocapture"])
            .output()
            .unwrap();
        assert!(output.status.success(), "{output:?}");
    }

    #[test]
    #[ignore = "started as a process by another test"]
    fn forbidding_dumps_in_this_process() {
        forbid_dumps().unwrap();
        assert_eq!(dumpable_behavior().unwrap(), DumpableBehavior::NotDumpable);
        let limit = getrlimit(Resource::Core);
        assert_eq!((limit.current, limit.maximum), (Some(0), Some(0)));
        let filter = fs::read_to_string("/proc/self/coredump_filter").unwrap();
        assert_eq!(filter.trim(), "00000000");
    }
}
