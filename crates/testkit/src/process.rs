//! The gateway as a process.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::process::{Child, Command, ExitStatus};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::NamedTempFile;
use x25519_dalek::{PublicKey, StaticSecret};

use crate::{Client, GatewaySetup, Metrics, http, wait_until};

/// A running gateway. It is killed when this is dropped; when the test panics, its log is printed.
#[derive(Debug)]
pub struct GatewayProcess {
    child: Child,
    setup: GatewaySetup,
    output: Option<Output>,
    /// How much of the log [`Self::wait_for_log`] has read, in bytes.
    log_read: usize,
}

/// The files that take a process's output.
#[derive(Debug)]
pub(crate) struct Output {
    pub(crate) stdout: NamedTempFile,
    pub(crate) stderr: NamedTempFile,
}

/// What a process left behind.
#[derive(Debug)]
pub struct Ended {
    /// The exit code, unless it was killed.
    pub code: Option<i32>,
    /// Standard error.
    pub log: String,
    /// Standard output.
    pub output: String,
}

impl GatewayProcess {
    /// Starts a process in the setup's namespace. `output` is where its output goes, if that is files.
    pub(crate) fn spawn(setup: GatewaySetup, mut command: Command, output: Option<Output>) -> Self {
        let child = match &setup.namespace {
            Some(namespace) => namespace.run(|| command.spawn()),
            None => command.spawn(),
        };
        Self {
            child: child.expect("the gateway's program runs"),
            setup,
            output,
            log_read: 0,
        }
    }

    pub(crate) fn wait_until_ready(&mut self) {
        wait_until("the gateway's start", || {
            if let Some(status) = self.try_wait() {
                panic!("the gateway ended with {status}");
            }
            self.try_get("/readyz").filter(|(status, _)| *status == 200)
        });
    }

    /// The key that clients need.
    #[must_use]
    pub const fn public_key(&self) -> &PublicKey {
        self.setup.public_key()
    }

    /// The first address where tunnels come in.
    #[must_use]
    pub fn listen_address(&self) -> SocketAddr {
        self.listen_addresses()[0]
    }

    /// All addresses where tunnels come in, in the order of the setup.
    #[must_use]
    pub fn listen_addresses(&self) -> &[SocketAddr] {
        self.setup.listen_addresses()
    }

    /// The address that serves metrics, inside the gateway's namespace.
    #[must_use]
    pub const fn metrics_address(&self) -> SocketAddr {
        self.setup.metrics_address()
    }

    /// The process.
    #[must_use]
    pub fn pid(&self) -> Pid {
        Pid::from_raw(self.child.id().cast_signed())
    }

    /// A client on this host with a tunnel, at any port.
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

    /// The status code and body of `GET path`.
    ///
    /// # Panics
    ///
    /// When there is no answer.
    #[must_use]
    pub fn get(&self, path: &str) -> (u16, String) {
        self.try_get(path).expect("an answer of the gateway")
    }

    /// Scrapes the metrics.
    ///
    /// # Panics
    ///
    /// When there is no answer.
    #[must_use]
    pub fn metrics(&self) -> Metrics {
        Metrics::of_response(self.get("/metrics"))
    }

    /// Scrapes until `holds` does, and returns that scrape.
    ///
    /// # Panics
    ///
    /// When it never does.
    pub fn wait_for_metrics(&self, what: &str, holds: impl Fn(&Metrics) -> bool) -> Metrics {
        wait_until(what, || Some(self.metrics()).filter(&holds))
    }

    /// Replaces the file of identities, as `mv` does.
    pub fn replace_identities(&self, identities: &[&StaticSecret]) {
        self.setup.replace_identities(identities);
    }

    /// What it logged so far.
    #[must_use]
    pub fn log(&self) -> String {
        self.output
            .as_ref()
            .map_or_else(String::new, |output| read(&output.stderr))
    }

    /// Waits for a line of the log with `wanted`, behind the lines that were waited for before. Returns what follows
    /// in that line. For tests of the log: whatever can be seen elsewhere is waited for there.
    ///
    /// # Panics
    ///
    /// When there is none.
    pub fn wait_for_log(&mut self, wanted: &str) -> String {
        wait_until(&format!("{wanted:?} in the log"), || {
            let ended = self.try_wait();
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
            assert_eq!(ended, None, "{wanted:?} is not in the log");
            None
        })
    }

    /// Sends a signal.
    pub fn signal(&self, signal: Signal) {
        kill(self.pid(), signal).expect("a running gateway");
    }

    /// Ends it by SIGTERM, and waits until it has ended. While tunnels are in use it drains first;
    /// SIGINT does not.
    pub fn terminate(self) -> Ended {
        self.signal(Signal::SIGTERM);
        self.wait()
    }

    /// Ends it by SIGKILL.
    pub fn kill(self) {
        self.signal(Signal::SIGKILL);
        self.wait();
    }

    /// Waits until it has ended.
    ///
    /// # Panics
    ///
    /// When it does not end.
    pub fn wait(mut self) -> Ended {
        let status = wait_until("the end of the gateway", || self.try_wait());
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
        // It may have ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("the gateway's log:\n{}", self.log());
        }
    }
}

fn read(file: &NamedTempFile) -> String {
    fs::read_to_string(file.path()).expect("output in UTF-8")
}
