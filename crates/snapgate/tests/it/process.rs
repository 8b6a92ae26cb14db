//! The gateway as a process, by what it logs.

use std::io::{BufRead as _, BufReader, Read as _};
use std::net::SocketAddr;
use std::process::{Child, ChildStderr, Command, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// A running gateway. It is killed when this is dropped.
pub(crate) struct Process {
    child: Child,
    log: Option<BufReader<ChildStderr>>,
    /// All that it logged so far.
    pub(crate) said: String,
}

/// What a process left behind.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) code: Option<i32>,
    /// Standard error.
    pub(crate) log: String,
    /// Standard output.
    pub(crate) summary: String,
}

impl Process {
    /// Starts `snapgate run`, and waits until it says where tunnels come in.
    pub(crate) fn start(command: Command) -> Self {
        let mut process = Self::spawn(command);
        process.wait_for("tunnels come in at");
        process
    }

    /// Starts it, and waits for nothing.
    pub(crate) fn spawn(mut command: Command) -> Self {
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let log = child.stderr.take().map(BufReader::new);
        Self {
            child,
            log,
            said: String::new(),
        }
    }

    /// Waits for a line of the log with `wanted`, after those that were waited for before. Returns what follows
    /// in that line.
    pub(crate) fn wait_for(&mut self, wanted: &str) -> String {
        loop {
            let start = self.said.len();
            let bytes = self
                .log
                .as_mut()
                .unwrap()
                .read_line(&mut self.said)
                .unwrap();
            assert_ne!(bytes, 0, "{wanted:?} is not in the log:\n{}", self.said);
            if let Some((_, rest)) = self.said[start..].split_once(wanted) {
                return rest.trim().to_owned();
            }
        }
    }

    /// The address behind `what` in the log.
    pub(crate) fn address(&self, what: &str) -> SocketAddr {
        let (_, rest) = self.said.split_once(what).unwrap();
        let address = rest.split_whitespace().next().unwrap();
        address.trim_end_matches(';').parse().unwrap()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill(self.pid(), signal).unwrap();
    }

    pub(crate) fn pid(&self) -> Pid {
        Pid::from_raw(self.child.id().cast_signed())
    }

    /// Reads the log no longer, as when the reader has gone.
    pub(crate) fn close_log(&mut self) {
        self.log = None;
    }

    /// Waits until it ends.
    pub(crate) fn end(mut self) -> Ended {
        let mut summary = String::new();
        let mut stdout = self.child.stdout.take().unwrap();
        // Short enough for the pipe, so the log can be read first.
        if let Some(log) = &mut self.log {
            log.read_to_string(&mut self.said).unwrap();
        }
        stdout.read_to_string(&mut summary).unwrap();
        Ended {
            code: self.child.wait().unwrap().code(),
            log: std::mem::take(&mut self.said),
            summary,
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
