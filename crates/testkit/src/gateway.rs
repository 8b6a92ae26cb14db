//! The gateway as a process.

use std::collections::HashSet;
use std::fmt::Write as _;
use std::fs::{self, File};
use std::net::{IpAddr, SocketAddr};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use procfs::net::{TcpState, UdpNetEntry};
use procfs::process::{FDTarget, Process};
use tempfile::TempDir;
use udp_shards::Dispatch;
use x25519_dalek::{PublicKey, StaticSecret};

use crate::{Metrics, Namespace, http, identity, wait_until};

/// What a [`GatewayProcess`] is started with: by default one unpinned worker on a free port of
/// 127.0.0.1 that lets every identity in and sends packets back (`--forward echo`).
pub struct GatewaySetup {
    program: PathBuf,
    namespace: Option<Namespace>,
    private_key: StaticSecret,
    identities: Option<Vec<PublicKey>>,
    listen: Vec<SocketAddr>,
    workers: usize,
    forward: String,
    dispatch: Dispatch,
    arguments: Vec<String>,
}

impl GatewaySetup {
    /// A gateway that is started by `program`: `env!("CARGO_BIN_EXE_snapgate")` in tests of the
    /// package `snapgate`.
    #[must_use]
    pub fn new(program: impl Into<PathBuf>) -> Self {
        Self {
            program: program.into(),
            namespace: None,
            private_key: identity(),
            identities: None,
            listen: Vec::new(),
            workers: 1,
            forward: "echo".to_owned(),
            dispatch: Dispatch::Kernel,
            arguments: Vec::new(),
        }
    }

    /// Starts it in a namespace rather than in that of the test.
    #[must_use]
    pub fn namespace(mut self, namespace: &Namespace) -> Self {
        self.namespace = Some(namespace.clone());
        self
    }

    /// Gives it this key instead of a new one.
    #[must_use]
    pub fn private_key(mut self, key: &StaticSecret) -> Self {
        self.private_key = key.clone();
        self
    }

    /// Lets only these in, by a file of identities.
    #[must_use]
    pub fn identities(mut self, identities: &[&StaticSecret]) -> Self {
        let keys = identities.iter().copied().map(PublicKey::from);
        self.identities = Some(keys.collect());
        self
    }

    /// Listens here, and at further addresses when called again. Port 0 picks a free one.
    #[must_use]
    pub fn listen(mut self, address: SocketAddr) -> Self {
        self.listen.push(address);
        self
    }

    /// Sets the number of workers.
    #[must_use]
    pub const fn workers(mut self, workers: usize) -> Self {
        self.workers = workers;
        self
    }

    /// Sets what happens to packets from tunnels: `echo`, `sink` or `scion`.
    #[must_use]
    pub fn forward(mut self, forward: &str) -> Self {
        forward.clone_into(&mut self.forward);
        self
    }

    /// Sets who brings datagrams to their worker.
    #[must_use]
    pub const fn dispatch(mut self, dispatch: Dispatch) -> Self {
        self.dispatch = dispatch;
        self
    }

    /// Adds an argument of `snapgate run`, such as `--no-gro`.
    #[must_use]
    pub fn argument(mut self, argument: impl Into<String>) -> Self {
        self.arguments.push(argument.into());
        self
    }

    /// Starts it and waits until it is ready: `/readyz` answers 200.
    ///
    /// # Panics
    ///
    /// When it does not get ready, with its log.
    #[must_use]
    pub fn start(mut self) -> GatewayProcess {
        if self.listen.is_empty() {
            self.listen.push(SocketAddr::from(([127, 0, 0, 1], 0)));
        }
        let directory = tempfile::tempdir().expect("a directory");
        let mut process = GatewayProcess {
            child: self.spawn(directory.path()),
            directory,
            namespace: self.namespace,
            public_key: PublicKey::from(&self.private_key),
            listen: Vec::new(),
            metrics: SocketAddr::from(([127, 0, 0, 1], 0)),
            reported: false,
        };
        process.wait_until_ready(&self.listen);
        process
    }

    fn spawn(&self, directory: &Path) -> Child {
        let key_file = directory.join("private.key");
        fs::write(&key_file, BASE64_STANDARD.encode(&self.private_key)).expect("a key file");
        fs::set_permissions(&key_file, fs::Permissions::from_mode(0o600)).expect("permissions");
        let mut command = Command::new(&self.program);
        command
            .args(["run", "--private-key-file=private.key", "--cpus=none"])
            .args(["--metrics=127.0.0.1:0"])
            .arg(format!("--workers={}", self.workers))
            .arg(format!("--forward={}", self.forward))
            .args(self.listen.iter().map(|at| format!("--listen={at}")))
            .arg(match self.dispatch {
                Dispatch::Kernel => "--dispatch=kernel",
                Dispatch::User => "--dispatch=user",
            });
        match &self.identities {
            Some(identities) => {
                write_identities(directory, identities);
                command.arg("--identities=identities.toml")
            }
            None => command.arg("--allow-any-identity"),
        };
        // Files rather than pipes: the process never waits for a reader.
        let file = |name| File::create(directory.join(name)).expect("a file for the output");
        command
            .args(&self.arguments)
            .current_dir(directory)
            .env_clear()
            .stdin(Stdio::null())
            .stdout(file("stdout"))
            .stderr(file("stderr"));
        let mut start = || command.spawn().expect("the gateway's program runs");
        match &self.namespace {
            Some(namespace) => namespace.run(start),
            None => start(),
        }
    }
}

/// A running gateway. It is killed when this is dropped; when the test panics, its log is printed.
#[derive(Debug)]
pub struct GatewayProcess {
    child: Child,
    /// With its key, identities and output.
    directory: TempDir,
    namespace: Option<Namespace>,
    public_key: PublicKey,
    listen: Vec<SocketAddr>,
    metrics: SocketAddr,
    reported: bool,
}

impl GatewayProcess {
    /// The key that clients need.
    #[must_use]
    pub const fn public_key(&self) -> &PublicKey {
        &self.public_key
    }

    /// The first address where tunnels come in, with the real port.
    #[must_use]
    pub fn listen_address(&self) -> SocketAddr {
        self.listen[0]
    }

    /// All addresses where tunnels come in, in the order of the setup.
    #[must_use]
    pub fn listen_addresses(&self) -> &[SocketAddr] {
        &self.listen
    }

    /// The address that serves metrics, inside the gateway's namespace.
    #[must_use]
    pub const fn metrics_address(&self) -> SocketAddr {
        self.metrics
    }

    /// The process.
    #[must_use]
    pub fn pid(&self) -> Pid {
        Pid::from_raw(self.child.id().cast_signed())
    }

    /// The directory that it runs in, with `private.key` and `identities.toml`.
    #[must_use]
    pub fn directory(&self) -> &Path {
        self.directory.path()
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
        let (status, text) = self.get("/metrics");
        assert_eq!(status, 200, "{text}");
        Metrics::parse(&text)
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
        let keys: Vec<_> = identities.iter().copied().map(PublicKey::from).collect();
        write_identities(self.directory.path(), &keys);
    }

    /// What it logged so far.
    #[must_use]
    pub fn log(&self) -> String {
        fs::read_to_string(self.directory.path().join("stderr")).unwrap_or_default()
    }

    /// What it wrote to standard output so far.
    #[must_use]
    pub fn output(&self) -> String {
        fs::read_to_string(self.directory.path().join("stdout")).unwrap_or_default()
    }

    /// Sends a signal.
    pub fn signal(&self, signal: Signal) {
        kill(self.pid(), signal).expect("a running gateway");
    }

    /// Ends it by SIGTERM, and waits until it has ended. While tunnels are in use it drains first;
    /// SIGINT does not.
    pub fn terminate(mut self) -> ExitStatus {
        self.signal(Signal::SIGTERM);
        self.wait()
    }

    /// Ends it by SIGKILL.
    pub fn kill(mut self) {
        self.signal(Signal::SIGKILL);
        self.wait();
    }

    /// Waits until it has ended.
    ///
    /// # Panics
    ///
    /// When it does not end.
    pub fn wait(&mut self) -> ExitStatus {
        wait_until("the end of the gateway", || {
            self.child.try_wait().expect("a child")
        })
    }

    fn try_get(&self, path: &str) -> Option<(u16, String)> {
        let get = || http::get(self.metrics, path);
        match &self.namespace {
            Some(namespace) => namespace.run(get),
            None => get(),
        }
    }

    /// Finds the ports that the kernel chose, and waits for `/readyz`.
    fn wait_until_ready(&mut self, listen: &[SocketAddr]) {
        wait_until("the gateway's start", || {
            if let Some(status) = self.child.try_wait().expect("a child") {
                self.reported = true;
                panic!("the gateway ended with {status}:\n{}", self.log());
            }
            let sockets = Sockets::of(self.child.id())?;
            self.metrics = sockets.tcp_listening?;
            let (status, _) = self.try_get("/readyz")?;
            self.listen = listen
                .iter()
                .map(|wanted| sockets.udp_at(*wanted))
                .collect::<Option<_>>()?;
            (status == 200).then_some(())
        });
    }
}

impl Drop for GatewayProcess {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() && !self.reported {
            eprintln!("the gateway's log:\n{}", self.log());
        }
    }
}

fn write_identities(directory: &Path, keys: &[PublicKey]) {
    let mut text = String::new();
    for key in keys {
        let key = BASE64_STANDARD.encode(key);
        writeln!(text, "[[identity]]\npublic_key = \"{key}\"").expect("a string takes it");
    }
    let new = directory.join("identities.new");
    fs::write(&new, text).expect("a file of identities");
    fs::rename(new, directory.join("identities.toml")).expect("a file of identities");
}

/// Addresses of a process's sockets, as the kernel lists them.
struct Sockets {
    tcp_listening: Option<SocketAddr>,
    udp: HashSet<SocketAddr>,
}

impl Sockets {
    /// `None` when the process is only starting.
    fn of(pid: u32) -> Option<Self> {
        let process = Process::new(pid.cast_signed()).ok()?;
        let inodes: HashSet<u64> = process
            .fd()
            .ok()?
            .filter_map(|fd| match fd.ok()?.target {
                FDTarget::Socket(inode) => Some(inode),
                _ => None,
            })
            .collect();
        let tcp = process.tcp().ok()?;
        let udp = [process.udp().ok()?, process.udp6().unwrap_or_default()].concat();
        Some(Self {
            tcp_listening: tcp
                .iter()
                .find(|socket| socket.state == TcpState::Listen && inodes.contains(&socket.inode))
                .map(|socket| socket.local_address),
            udp: udp
                .iter()
                .filter(|socket: &&UdpNetEntry| inodes.contains(&socket.inode))
                .map(|socket| socket.local_address)
                .collect(),
        })
    }

    /// The address of the UDP sockets that were asked to be at `wanted`. Of several at the same IP
    /// address with port 0 it cannot tell which is which.
    fn udp_at(&self, wanted: SocketAddr) -> Option<SocketAddr> {
        let ip: IpAddr = wanted.ip();
        let mut found = self
            .udp
            .iter()
            .filter(|at| at.ip() == ip && (wanted.port() == 0 || at.port() == wanted.port()));
        let address = found.next().copied()?;
        assert!(
            found.next().is_none(),
            "more than one UDP address at {ip}: give the others fixed ports or IP addresses"
        );
        Some(address)
    }
}
