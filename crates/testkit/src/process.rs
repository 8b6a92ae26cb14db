//! Gateway processes.

use std::fs::{self, TryLockError};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::process::{Child, Command, ExitStatus};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::NamedTempFile;
use x25519_dalek::{PublicKey, StaticSecret};

use crate::{Client, GatewaySetup, Metrics, POLL_INTERVAL, http, wait_until};

/// Time in which a killed process ends, unless it waits for storage.
const KILL_TIME: Duration = Duration::from_secs(10);

/// A running gateway process. Drop kills it, and prints its log if the test panics.
#[derive(Debug)]
pub struct GatewayProcess {
    child: Child,
    setup: GatewaySetup,
    output: Option<Output>,
    /// Number of bytes of the log that [`Self::wait_for_log`] has read.
    log_read: usize,
}

/// Files with the output of a process.
#[derive(Debug)]
pub(crate) struct Output {
    stdout: NamedTempFile,
    stderr: NamedTempFile,
}

impl Output {
    pub(crate) fn new() -> Self {
        let [stdout, stderr] =
            [(); 2].map(|()| NamedTempFile::new().expect("a file for the output"));
        Self { stdout, stderr }
    }

    /// Makes the files standard output and standard error of a command.
    pub(crate) fn attach_to(&self, command: &mut Command) {
        let [stdout, stderr] = [&self.stdout, &self.stderr].map(|file| {
            let file = file.reopen().expect("a file");
            // Until the last process with this descriptor has closed it.
            file.lock().expect("a lock");
            file
        });
        command.stdout(stdout).stderr(stderr);
    }

    /// Returns true if no process can write to the files. A gateway that was killed leaves processes that write what it
    /// has written.
    fn is_complete(&self) -> bool {
        [&self.stdout, &self.stderr].map(|file| match file.as_file().try_lock() {
            Ok(()) => true,
            Err(TryLockError::WouldBlock) => false,
            Err(TryLockError::Error(error)) => panic!("cannot lock a file: {error}"),
        }) == [true, true]
    }
}

/// Exit code and output of a process.
#[derive(Debug)]
pub struct Ended {
    /// Exit code; `None` if a signal killed it.
    pub code: Option<i32>,
    /// Standard error.
    pub log: String,
    /// Standard output.
    pub output: String,
}

impl GatewayProcess {
    /// Starts a process in the namespaces of `setup`. `output` has the files that `command` writes its output to, if
    /// any.
    pub(crate) fn spawn(setup: GatewaySetup, mut command: Command, output: Option<Output>) -> Self {
        let mut spawn = || match &setup.mounts {
            Some(mounts) => mounts.run(|| command.spawn()),
            None => command.spawn(),
        };
        let child = match &setup.namespace {
            Some(namespace) => namespace.run(spawn),
            None => spawn(),
        };
        Self {
            child: child.expect("cannot start the gateway"),
            setup,
            output,
            log_read: 0,
        }
    }

    pub(crate) fn wait_until_ready(&mut self) {
        wait_until("gateway ready", || {
            if let Some(status) = self.try_wait() {
                panic!("gateway exited before it was ready: {status}");
            }
            self.try_get("/readyz").filter(|(status, _)| *status == 200)
        });
    }

    /// Waits until the process has started completely, and returns true, or until it has exited. For tests of failed
    /// starts: it reads the log, because a gateway that is short of resources may not answer `/readyz`.
    pub fn is_started(&mut self) -> bool {
        wait_until("start or exit of the gateway", || {
            let has_exited = self.has_exited();
            let is_started = self.log().contains("serving metrics url=");
            (has_exited || is_started).then_some(is_started)
        })
    }

    /// Returns the public key of the gateway.
    #[must_use]
    pub const fn public_key(&self) -> &PublicKey {
        self.setup.public_key()
    }

    /// Returns the first listen address.
    #[must_use]
    pub fn listen_address(&self) -> SocketAddr {
        self.listen_addresses()[0]
    }

    /// Returns all listen addresses, in the order of the setup.
    #[must_use]
    pub fn listen_addresses(&self) -> &[SocketAddr] {
        self.setup.listen_addresses()
    }

    /// Returns the address that serves metrics, inside the gateway's namespace.
    #[must_use]
    pub const fn metrics_address(&self) -> SocketAddr {
        self.setup.metrics_address()
    }

    /// Returns the process ID.
    #[must_use]
    pub fn pid(&self) -> Pid {
        Pid::from_raw(self.child.id().cast_signed())
    }

    /// Connects a client on loopback, at any free port.
    #[must_use]
    pub fn connect(&self, identity: &StaticSecret) -> Client {
        let listen = self.listen_address();
        let loopback = match listen {
            SocketAddr::V4(_) => IpAddr::V4(Ipv4Addr::LOCALHOST),
            SocketAddr::V6(_) => IpAddr::V6(Ipv6Addr::LOCALHOST),
        };
        Client::connect(
            identity,
            SocketAddr::new(loopback, 0),
            listen,
            self.public_key(),
        )
    }

    /// Returns the status code and body of `GET path`.
    #[must_use]
    pub fn get(&self, path: &str) -> (u16, String) {
        self.try_get(path).expect("an HTTP response of the gateway")
    }

    /// Scrapes the metrics.
    #[must_use]
    pub fn metrics(&self) -> Metrics {
        Metrics::of_response(self.get("/metrics"))
    }

    /// Scrapes the metrics until `holds` returns true, and returns that scrape.
    pub fn wait_for_metrics(&self, what: &str, holds: impl Fn(&Metrics) -> bool) -> Metrics {
        wait_until(what, || Some(self.metrics()).filter(&holds))
    }

    /// Replaces the identities file atomically.
    pub fn replace_identities(&self, identities: &[&StaticSecret]) {
        self.setup.replace_identities(identities);
    }

    /// Returns the log written so far.
    #[must_use]
    pub fn log(&self) -> String {
        self.output
            .as_ref()
            .map_or_else(String::new, |output| read(&output.stderr))
    }

    /// Waits for the next log line that contains `wanted`, and returns the rest of that line. Lines before the last
    /// match are not searched again. Only for tests of the log; other tests wait for metrics or packets.
    pub fn wait_for_log(&mut self, wanted: &str) -> String {
        wait_until(&format!("{wanted:?} in the log"), || {
            let ended = self
                .try_wait()
                .filter(|_| self.output.as_ref().is_none_or(Output::is_complete));
            let log = self.log();
            for line in log[self.log_read..].split_inclusive('\n') {
                if !line.ends_with('\n') {
                    break;
                }
                self.log_read += line.len();
                if let Some((_, rest)) = line.split_once(wanted) {
                    return Some(rest.trim().to_owned());
                }
            }
            assert_eq!(ended, None, "gateway exited without {wanted:?} in the log");
            None
        })
    }

    /// Sends a signal to the process.
    pub fn signal(&self, signal: Signal) {
        kill(self.pid(), signal).expect("a running gateway");
    }

    /// Sends SIGTERM and waits for the exit. A gateway with tunnels in use drains first; SIGINT skips that.
    pub fn terminate(self) -> Ended {
        self.signal(Signal::SIGTERM);
        self.wait()
    }

    /// Sends SIGKILL and waits for the exit.
    pub fn kill(self) {
        self.signal(Signal::SIGKILL);
        self.wait();
    }

    /// Returns true if the process has exited.
    pub fn has_exited(&mut self) -> bool {
        self.try_wait().is_some()
    }

    /// Waits for the exit, and for the last output.
    pub fn wait(mut self) -> Ended {
        let status = wait_until("exit of the gateway", || self.try_wait());
        if let Some(output) = &self.output {
            wait_until("the end of all processes that write its output", || {
                output.is_complete().then_some(())
            });
        }
        let stdout = self.output.as_ref().map(|output| read(&output.stdout));
        Ended {
            code: status.code(),
            log: self.log(),
            output: stdout.unwrap_or_default(),
        }
    }

    fn try_wait(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().expect("a child")
    }

    fn try_get(&self, path: &str) -> Option<(u16, String)> {
        let get = || http::get(self.metrics_address(), path);
        match &self.setup.namespace {
            Some(namespace) => namespace.run(get),
            None => get(),
        }
    }
}

impl Drop for GatewayProcess {
    fn drop(&mut self) {
        // Fails if the process has already exited.
        let _ = self.child.kill();
        // It cannot be killed while its storage hangs.
        let deadline = Instant::now() + KILL_TIME;
        while matches!(self.child.try_wait(), Ok(None)) && Instant::now() < deadline {
            std::thread::sleep(POLL_INTERVAL);
        }
        if std::thread::panicking() {
            eprintln!("log of the gateway:\n{}", self.log());
        }
    }
}

fn read(file: &NamedTempFile) -> String {
    fs::read_to_string(file.path()).expect("output in UTF-8")
}

/// Returns the processes that a gateway has started with these arguments and that run, the oldest first.
#[must_use]
pub fn children(gateway: Pid, arguments: &[&str]) -> Vec<Pid> {
    // It may have ended, or its threads and children may end meanwhile.
    let threads = fs::read_dir(format!("/proc/{gateway}/task"));
    let children: String = threads
        .into_iter()
        .flatten()
        .filter_map(|thread| fs::read_to_string(thread.ok()?.path().join("children")).ok())
        .collect();
    let command = format!("snapgate\0{}\0", arguments.join("\0"));
    children
        .split_whitespace()
        .filter(|child| {
            fs::read(format!("/proc/{child}/cmdline")).is_ok_and(|line| line == command.as_bytes())
        })
        .map(|child| Pid::from_raw(child.parse().expect("a process ID")))
        .collect()
}
