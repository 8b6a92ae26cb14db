//! CPU time of threads and processes, and where they run.
//!
//! CPU time is what a step costs, whatever else the machine does: time in which a thread waits or
//! another one has its CPU is not in it. Both clocks count nanoseconds of user and system time, up to the moment they are
//! read (clock_gettime(2)); a read is a system call.

use core_affinity::CoreId;
use nix::errno::Errno;
use nix::time::{ClockId, clock_getcpuclockid, clock_gettime};
use nix::unistd::Pid;

/// Why CPU time cannot be had, or not where it should be spent.
#[derive(Debug, thiserror::Error)]
pub enum CpuError {
    /// The clock cannot be read; that of a process, when it ended.
    #[error("cannot read the CPU time of {of}: {errno}")]
    Clock {
        /// Whose CPU time.
        of: String,
        /// The kernel's answer.
        errno: Errno,
    },
    /// The affinity mask does not have the CPU.
    #[error("this process may not run on CPU {0}")]
    Pin(usize),
    /// A measurement needs one CPU for the gateway and another for its load.
    #[error("this process may run on {0} CPU; a gateway and its load need one each")]
    TooFew(usize),
}

/// CPU time of the calling thread so far, in nanoseconds.
///
/// # Errors
///
/// [`CpuError::Clock`], which Linux has no reason for.
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
    /// The clock of all threads of the process, those that ended among them.
    ///
    /// # Errors
    ///
    /// [`CpuError::Clock`] when there is no such process.
    pub fn new(pid: u32) -> Result<Self, CpuError> {
        let clock = clock_getcpuclockid(Pid::from_raw(pid.cast_signed())).map_err(|errno| {
            CpuError::Clock {
                of: format!("process {pid}"),
                errno,
            }
        })?;
        Ok(Self { pid, clock })
    }

    /// CPU time so far, in nanoseconds.
    ///
    /// # Errors
    ///
    /// [`CpuError::Clock`] when the process ended.
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
    /// The gateway's, from the first CPU up.
    pub gateway: usize,
    /// Those of the load, from the last CPU down.
    pub load: usize,
    /// All that this process may use.
    pub usable: Vec<usize>,
}

impl Placement {
    /// The first usable CPU for the gateway, the last one for the load.
    ///
    /// # Errors
    ///
    /// [`CpuError::TooFew`] when there is only one.
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

/// Moves the calling thread to `cpu`.
///
/// # Errors
///
/// [`CpuError::Pin`] when it may not run there.
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

    /// Works until the clock has gone on by a millisecond.
    fn work_until_it_goes_on(clock: impl Fn() -> Result<u64, CpuError>) {
        let give_up = Instant::now() + Duration::from_secs(60);
        let before = clock().unwrap();
        while clock().unwrap() < before + 1_000_000 {
            assert!(Instant::now() < give_up, "the clock stands still");
        }
    }

    // Each clock is compared with itself alone: the kernel brings that of a process up to date at other times
    // than that of its thread.

    #[test]
    fn a_working_thread_takes_cpu_time() {
        work_until_it_goes_on(thread_ns);
    }

    #[test]
    fn a_working_thread_takes_cpu_time_of_its_process() {
        let process = ProcessClock::new(std::process::id()).unwrap();
        work_until_it_goes_on(|| process.ns());
    }

    #[test]
    fn a_process_that_is_not_there_has_no_clock() {
        // Process numbers end at 2^22 (PID_MAX_LIMIT, include/linux/threads.h).
        assert!(ProcessClock::new((1 << 22) + 1).is_err());
    }
}
