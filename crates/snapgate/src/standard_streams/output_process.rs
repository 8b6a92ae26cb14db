//! The gateway's side of a process that writes to a file.
//!
//! Standard input of that process is the pipe, its standard error is the file, and its standard output is a pipe back to
//! the gateway, for [reports](super::file_writer). It ends at the end of the first pipe, when it has written everything.

use std::io::{self, PipeReader, Read as _};
use std::process::{Child, ExitStatus};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::{ioctl_fionbio, retry_on_intr};

use super::file_writer::{REPORT_BYTES, parse_report};
use super::stream::Stream;
use crate::file_process;
use crate::logging::LogFormat;

/// Command of the program that writes to a file.
pub(crate) const COMMAND: &str = "write-output";

/// Maximum time for the end of a process that could not start.
const FAILED_START_TIME: Duration = Duration::from_secs(1);

/// Interval between attempts to wait for a process that is about to end.
const REAP_INTERVAL: Duration = Duration::from_millis(1);

/// A process that writes to a file.
#[derive(Debug)]
pub(super) struct OutputProcess {
    /// The streams that are pipes to it.
    streams: &'static [Stream],
    /// `None` after its end was noticed.
    child: Mutex<Option<Child>>,
    /// Non-blocking.
    reports: PipeReader,
    /// Number of lost lines in the last report.
    lost: AtomicU64,
}

impl OutputProcess {
    /// Starts a process for the file of the first stream, and replaces these streams by pipes to it.
    pub(super) fn start(streams: &'static [Stream], format: LogFormat) -> io::Result<Self> {
        let (input, pipe) = io::pipe()?;
        let (reports, report) = io::pipe()?;
        ioctl_fionbio(&reports, true)?;
        ioctl_fionbio(&report, true)?;
        let stream = streams.first().copied().unwrap_or(Stream::Error);
        let file = stream.descriptor().try_clone_to_owned()?;
        let child = file_process::spawn(&[COMMAND, format.name()], input, report, file)?;
        let process = Self {
            streams,
            child: Mutex::new(Some(child)),
            reports,
            lost: AtomicU64::new(0),
        };
        if let Err(error) = process.wait_until_ready() {
            // Its message, such as about too little memory, is in the file.
            let _ = process.wait_for_end(Instant::now() + FAILED_START_TIME);
            return Err(error);
        }
        for stream in streams {
            stream.replace(&pipe)?;
        }
        Ok(process)
    }

    /// Waits for the first report.
    fn wait_until_ready(&self) -> io::Result<()> {
        wait(&self.reports, None)?;
        match (&self.reports).read(&mut [0; REPORT_BYTES])? {
            REPORT_BYTES => Ok(()),
            _ => Err(io::Error::other("it has ended at once")),
        }
    }

    pub(super) const fn streams(&self) -> &'static [Stream] {
        self.streams
    }

    /// Returns the names of the streams.
    pub(super) fn names(&self) -> String {
        let names: Vec<_> = self.streams.iter().map(|stream| stream.name()).collect();
        names.join(" and ")
    }

    fn lock_child(&self) -> MutexGuard<'_, Option<Child>> {
        self.child.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the exit status after the process has ended, the first time.
    pub(super) fn ended(&self) -> Option<ExitStatus> {
        let mut child = self.lock_child();
        let status = child.as_mut()?.try_wait().ok()??;
        *child = None;
        Some(status)
    }

    /// Returns the number of lines that could not be written.
    pub(super) fn lost_lines(&self) -> u64 {
        self.take_reports();
        self.lost.load(Ordering::Relaxed)
    }

    /// Takes the reports that have arrived, without waiting. Returns true after the last one.
    fn take_reports(&self) -> bool {
        let mut reports = [0; 64 * REPORT_BYTES];
        loop {
            match (&self.reports).read(&mut reports) {
                Ok(0) => return true,
                // The number only grows. Another thread may take a later report before this one is stored.
                Ok(length) => {
                    if let Some(lost) = parse_report(&reports[..length]) {
                        self.lost.fetch_max(lost, Ordering::Relaxed);
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => return false,
            }
        }
    }

    /// Ends the pipe. The streams fail from then on.
    pub(super) fn close(&self) -> io::Result<()> {
        // A descriptor that cannot be written to. Opening /dev/null could fail.
        let mut streams = self.streams.iter();
        streams.try_for_each(|stream| stream.replace(&self.reports))
    }

    /// Waits until the process has written everything and has ended, at most until `deadline`.
    ///
    /// # Errors
    ///
    /// The time is over, or something could not be written.
    pub(super) fn wait_for_end(&self, deadline: Instant) -> io::Result<()> {
        while !self.take_reports() {
            let left = Timespec::try_from(time_left(deadline)?).map_err(io::Error::other)?;
            wait(&self.reports, Some(&left))?;
        }
        // Otherwise the first process of a container would have to do this, and not all of them do.
        while !self.is_reaped() {
            thread::sleep(time_left(deadline)?.min(REAP_INTERVAL));
        }
        if self.lost.load(Ordering::Relaxed) > 0 {
            return Err(io::Error::other("its file takes no more data"));
        }
        Ok(())
    }

    fn is_reaped(&self) -> bool {
        let mut child = self.lock_child();
        if let Some(Ok(Some(_))) = child.as_mut().map(Child::try_wait) {
            *child = None;
        }
        child.is_none()
    }
}

/// Fails if there is none.
fn time_left(deadline: Instant) -> io::Result<Duration> {
    let left = deadline.saturating_duration_since(Instant::now());
    if left.is_zero() {
        let text = "the storage of its file does not respond";
        return Err(io::Error::new(io::ErrorKind::TimedOut, text));
    }
    Ok(left)
}

/// Waits for a report or the end of all reports.
fn wait(reports: &PipeReader, timeout: Option<&Timespec>) -> io::Result<()> {
    retry_on_intr(|| poll(&mut [PollFd::new(reports, PollFlags::IN)], timeout))?;
    Ok(())
}
