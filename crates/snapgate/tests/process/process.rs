//! The gateway as a process, by what it logs.

use std::io::{BufRead as _, BufReader, Read as _};
use std::net::SocketAddr;
use std::process::{Child, ChildStderr, Command, Stdio};
use std::thread;
use std::time::Instant;

use crossbeam_channel::Receiver;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::client::PATIENCE;

/// A running gateway. It is killed when this is dropped.
pub(crate) struct Process {
    child: Child,
    /// The lines that it logs, unless nobody reads them any more.
    log: Option<Receiver<String>>,
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
        let log = child.stderr.take().map(lines_of);
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
            let Some(line) = self.next_line() else {
                panic!("{wanted:?} is not in the log:\n{}", self.said);
            };
            if let Some((_, rest)) = line.split_once(wanted) {
                return rest.trim().to_owned();
            }
        }
    }

    /// `None` when the log has ended, or nothing comes.
    fn next_line(&mut self) -> Option<String> {
        let line = self.log.as_ref()?.recv_timeout(PATIENCE).ok()?;
        self.said.push_str(&line);
        Some(line)
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
        while self.next_line().is_some() {}
        let deadline = Instant::now() + PATIENCE;
        let status = loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                break status;
            }
            assert!(Instant::now() < deadline, "it does not end:\n{}", self.said);
            thread::yield_now();
        };
        let mut summary = String::new();
        let mut stdout = self.child.stdout.take().unwrap();
        stdout.read_to_string(&mut summary).unwrap();
        Ended {
            code: status.code(),
            log: std::mem::take(&mut self.said),
            summary,
        }
    }
}

/// Reads the lines of a log, each with its end, until nobody takes them.
fn lines_of(log: ChildStderr) -> Receiver<String> {
    let (lines, receiver) = crossbeam_channel::bounded(1);
    thread::spawn(move || {
        let mut log = BufReader::new(log);
        let mut line = String::new();
        while log.read_line(&mut line).unwrap() > 0 && lines.send(line.split_off(0)).is_ok() {}
    });
    receiver
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
