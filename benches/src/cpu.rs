//! CPU time and CPU affinity of threads and processes.
//!
//! CPU time excludes the time in which a thread waits or another thread has its CPU, so it hardly depends on the load
//! of the machine. Both clocks count nanoseconds of user and system time (clock_gettime(2)); a read is a system call.

use core_affinity::CoreId;
use nix::errno::Errno;
use nix::time::{ClockId, clock_getcpuclockid, clock_gettime};
use nix::unistd::Pid;

/// Error of a CPU clock or of CPU affinity.
#[derive(Debug, thiserror::Error)]
pub enum CpuError {
    /// The clock cannot be read, for example because the process has exited.
    #[error("cannot read the CPU time of {of}: {errno}")]
    Clock {
        /// The thread or process.
        of: String,
        /// Error of the kernel.
        errno: Errno,
    },
    /// The CPU is not in the affinity mask of the process.
    #[error("this process may not run on CPU {0} (see taskset -p)")]
    Pin(usize),
    /// The affinity mask of the process has fewer than two CPUs.
    #[error(
        "this process may run on {0} CPU: a measurement needs two, one for the gateway and one for the load \
         generator"
    )]
    TooFew(usize),
}

/// Returns the CPU time of the calling thread in nanoseconds.
///
/// # Errors
///
/// [`CpuError::Clock`], which does not happen on Linux.
pub fn thread_ns() -> Result<u64, CpuError> {
    read(ClockId::CLOCK_THREAD_CPUTIME_ID, || "a thread".to_owned())
}

/// The CPU clock of another process.
#[derive(Clone, Copy, Debug)]
pub struct ProcessClock {
    pid: u32,
    clock: ClockId,
}

impl ProcessClock {
    /// Returns the clock of a process, which includes threads that have ended.
    ///
    /// # Errors
    ///
    /// [`CpuError::Clock`] if the process does not exist.
    pub fn new(pid: u32) -> Result<Self, CpuError> {
        let clock = clock_getcpuclockid(Pid::from_raw(pid.cast_signed())).map_err(|errno| {
            CpuError::Clock {
                of: format!("process {pid}"),
                errno,
            }
        })?;
        Ok(Self { pid, clock })
    }

    /// Returns the CPU time in nanoseconds.
    ///
    /// # Errors
    ///
    /// [`CpuError::Clock`] if the process has exited.
    pub fn ns(&self) -> Result<u64, CpuError> {
        read(self.clock, || format!("process {}", self.pid))
    }
}

fn read(clock: ClockId, of: impl Fn() -> String) -> Result<u64, CpuError> {
    let time = clock_gettime(clock).map_err(|errno| CpuError::Clock { of: of(), errno })?;
    Ok(time.tv_sec().cast_unsigned() * 1_000_000_000 + time.tv_nsec().cast_unsigned())
}

/// The CPUs of a measurement.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Placement {
    /// CPU of the gateway.
    pub gateway: usize,
    /// CPU of the load generator.
    pub load: usize,
    /// All CPUs that this process may use.
    pub usable: Vec<usize>,
}

impl Placement {
    /// Assigns the first usable CPU to the gateway and the last one to the load generator.
    ///
    /// # Errors
    ///
    /// [`CpuError::TooFew`] if there is only one.
    pub fn of_this_machine() -> Result<Self, CpuError> {
        let usable: Vec<usize> = core_affinity::get_core_ids()
            .unwrap_or_default()
            .into_iter()
            .map(|core| core.id)
            .collect();
        match usable[..] {
            [gateway, .., load] => Ok(Self {
                gateway,
                load,
                usable,
            }),
            _ => Err(CpuError::TooFew(usable.len())),
        }
    }
}

/// Pins the calling thread to `cpu`.
///
/// # Errors
///
/// [`CpuError::Pin`] if the process may not use this CPU.
pub fn pin(cpu: usize) -> Result<(), CpuError> {
    if core_affinity::set_for_current(CoreId { id: cpu }) {
        Ok(())
    } else {
        Err(CpuError::Pin(cpu))
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;

    /// Works until the clock has advanced by a millisecond.
    fn work_until_it_advances(clock: impl Fn() -> Result<u64, CpuError>) {
        let give_up = Instant::now() + Duration::from_secs(60);
        let before = clock().unwrap();
        while clock().unwrap() < before + 1_000_000 {
            assert!(Instant::now() < give_up, "the clock does not advance");
        }
    }

    // The two clocks are not compared with each other: the kernel updates them at different times.

    #[test]
    fn thread_clock_advances_while_the_thread_works() {
        work_until_it_advances(thread_ns);
    }

    #[test]
    fn process_clock_advances_while_a_thread_works() {
        let process = ProcessClock::new(std::process::id()).unwrap();
        work_until_it_advances(|| process.ns());
    }

    #[test]
    fn clock_of_an_unknown_process_is_an_error() {
        // Process numbers end at 2^22 (PID_MAX_LIMIT, include/linux/threads.h).
        assert!(ProcessClock::new((1 << 22) + 1).is_err());
    }
}
