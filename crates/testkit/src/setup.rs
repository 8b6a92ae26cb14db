//! Settings of gateway processes.

use std::ffi::OsStr;
use std::fmt::Write as _;
use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::Arc;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use tempfile::TempDir;
use udp_shards::Dispatch;
use x25519_dalek::{PublicKey, StaticSecret};

use crate::process::{GatewayProcess, Output};
use crate::{Mounts, Namespace, identity, own_address};

/// Settings of a [`GatewayProcess`]. Default: one unpinned worker at an [`own_address`] that admits every identity and
/// sends packets back (`--forward echo`).
///
/// The setup has a temporary directory and can start any number of processes in it, one after the other. Addresses are
/// chosen here, not by the kernel, so that they are known in advance.
#[derive(Clone, Debug)]
pub struct GatewaySetup {
    program: PathBuf,
    /// Contains `private.key` and `identities.toml`.
    directory: Arc<TempDir>,
    public_key: PublicKey,
    pub(crate) namespace: Option<Namespace>,
    pub(crate) mounts: Option<Mounts>,
    own_address: SocketAddr,
    listen: Vec<SocketAddr>,
    authorization: Authorization,
    workers: usize,
    cpus: String,
    forward: String,
    dispatch: Dispatch,
    arguments: Vec<String>,
    environment: Vec<(String, String)>,
    launcher: Vec<String>,
}

/// Source of the identities that the gateway admits.
#[derive(Clone, Copy, Debug)]
enum Authorization {
    AnyIdentity,
    IdentitiesFile,
    Registrations,
}

impl GatewaySetup {
    /// Creates the settings of a gateway with the executable `program`: `env!("CARGO_BIN_EXE_snapgate")` in tests of
    /// the package `snapgate`.
    #[must_use]
    pub fn new(program: impl Into<PathBuf>) -> Self {
        let key = identity();
        let setup = Self {
            program: program.into(),
            directory: Arc::new(tempfile::tempdir().expect("a directory")),
            public_key: PublicKey::from(&key),
            namespace: None,
            mounts: None,
            own_address: own_address(),
            listen: Vec::new(),
            authorization: Authorization::AnyIdentity,
            workers: 1,
            cpus: "none".to_owned(),
            forward: "echo".to_owned(),
            dispatch: Dispatch::Kernel,
            arguments: Vec::new(),
            environment: Vec::new(),
            launcher: Vec::new(),
        };
        setup.write_private_key(&key);
        setup
    }

    /// Starts the process in `namespace` instead of the namespace of the test.
    #[must_use]
    pub fn namespace(mut self, namespace: &Namespace) -> Self {
        self.namespace = Some(namespace.clone());
        self
    }

    /// Starts the process with the mounts of a namespace.
    #[must_use]
    pub fn mounts(mut self, mounts: &Mounts) -> Self {
        self.mounts = Some(mounts.clone());
        self
    }

    /// Sets the private key, instead of a new one.
    #[must_use]
    pub fn private_key(mut self, key: &StaticSecret) -> Self {
        self.write_private_key(key);
        self.public_key = PublicKey::from(key);
        self
    }

    /// Admits only `identities`, by an identities file.
    #[must_use]
    pub fn identities(mut self, identities: &[&StaticSecret]) -> Self {
        self.replace_identities(identities);
        self.authorization = Authorization::IdentitiesFile;
        self
    }

    /// Admits only identities that clients register at the control plane of the gateway.
    #[must_use]
    pub const fn only_registered_identities(mut self) -> Self {
        self.authorization = Authorization::Registrations;
        self
    }

    /// Adds a listen address.
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

    /// Sets the CPUs of the workers, as the value of `--cpus`.
    #[must_use]
    pub fn cpus(mut self, cpus: &str) -> Self {
        cpus.clone_into(&mut self.cpus);
        self
    }

    /// Sets what happens to packets from tunnels: `echo`, `sink` or `scion`.
    #[must_use]
    pub fn forward(mut self, forward: &str) -> Self {
        forward.clone_into(&mut self.forward);
        self
    }

    /// Sets how datagrams reach their worker.
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

    /// Sets an environment variable. The process inherits none.
    #[must_use]
    pub fn environment(mut self, name: &str, value: impl Into<String>) -> Self {
        self.environment.push((name.to_owned(), value.into()));
        self
    }

    /// Starts the process by a command that executes its arguments, such as `nice -n 19`: the process ID stays the same.
    #[must_use]
    pub fn launcher(mut self, command: &[&str]) -> Self {
        self.launcher = command.iter().map(|&word| word.to_owned()).collect();
        self
    }

    /// Starts the process by a shell after `preparation`, such as `ulimit -n 100`.
    #[must_use]
    pub fn after_shell(self, preparation: &str) -> Self {
        self.launcher(&["sh", "-euc", &format!("{preparation}\nexec \"$@\""), "sh"])
    }

    /// Returns the public key of the gateway.
    #[must_use]
    pub const fn public_key(&self) -> &PublicKey {
        &self.public_key
    }

    /// Returns all listen addresses.
    #[must_use]
    pub fn listen_addresses(&self) -> &[SocketAddr] {
        if self.listen.is_empty() {
            std::slice::from_ref(&self.own_address)
        } else {
            &self.listen
        }
    }

    /// Returns the address that serves metrics, inside the gateway's namespace.
    #[must_use]
    pub const fn metrics_address(&self) -> SocketAddr {
        SocketAddr::new(self.own_address.ip(), self.own_address.port() + 1)
    }

    /// Returns the path of a file in the gateway's working directory, which contains `private.key` and
    /// `identities.toml`.
    #[must_use]
    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Replaces the identities file by one that lists `identities`.
    pub fn replace_identities(&self, identities: &[&StaticSecret]) {
        let mut text = String::new();
        for identity in identities {
            let key = BASE64_STANDARD.encode(PublicKey::from(*identity));
            writeln!(text, "[[identity]]\npublic_key = \"{key}\"").expect("writing to a string");
        }
        self.replace_identities_file(&text);
    }

    /// Replaces the identities file atomically, by rename.
    pub fn replace_identities_file(&self, text: &str) {
        let new = self.path("identities.new");
        fs::write(&new, text).expect("identities file");
        fs::rename(new, self.path("identities.toml")).expect("identities file");
    }

    /// Starts the process and waits until it is ready: `/readyz` answers 200.
    ///
    /// # Panics
    ///
    /// If it does not become ready, with its log.
    #[must_use]
    pub fn start(&self) -> GatewayProcess {
        let mut process = self.spawn();
        process.wait_until_ready();
        process
    }

    /// Starts the process without waiting for it.
    #[must_use]
    pub fn spawn(&self) -> GatewayProcess {
        // Files, not pipes: the process never blocks on a reader.
        let output = Output::new();
        let mut command = self.command();
        output.attach_to(&mut command);
        GatewayProcess::spawn(self.clone(), command, Some(output))
    }

    /// Starts `command`, a variant of [`Self::command`] with another output, and waits until it is ready.
    #[must_use]
    pub fn start_command(&self, command: Command) -> GatewayProcess {
        let mut process = GatewayProcess::spawn(self.clone(), command, None);
        process.wait_until_ready();
        process
    }

    /// Returns the command that starts the process.
    #[must_use]
    pub fn command(&self) -> Command {
        let mut words = self.launcher.iter().map(OsStr::new);
        let mut command = match words.next() {
            None => Command::new(&self.program),
            Some(launcher) => {
                let mut command = Command::new(launcher);
                command.args(words).arg(&self.program);
                command
            }
        };
        command
            .args(["run", "--private-key-file=private.key"])
            .arg(format!("--cpus={}", self.cpus))
            .args(match self.authorization {
                Authorization::AnyIdentity => Some("--allow-any-identity"),
                Authorization::IdentitiesFile => Some("--identities=identities.toml"),
                Authorization::Registrations => None,
            })
            .arg(format!("--metrics={}", self.metrics_address()))
            .arg(format!("--workers={}", self.workers))
            .arg(format!("--forward={}", self.forward))
            .args(
                self.listen_addresses()
                    .iter()
                    .map(|at| format!("--listen={at}")),
            )
            .arg(match self.dispatch {
                Dispatch::Kernel => "--dispatch=kernel",
                Dispatch::User => "--dispatch=user",
            })
            .args(&self.arguments)
            .current_dir(self.directory.path())
            .env_clear()
            .envs(self.environment.iter().cloned())
            .stdin(Stdio::null());
        command
    }

    fn write_private_key(&self, key: &StaticSecret) {
        let file = self.path("private.key");
        fs::write(&file, BASE64_STANDARD.encode(key)).expect("a key file");
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).expect("permissions");
    }
}
