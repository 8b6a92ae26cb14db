//! A directory with what a gateway process needs.

use std::fmt::Write as _;
use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::process::Command;

use ana_gotatun::x25519::{PublicKey, StaticSecret};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use snapgate::keys::PrivateKey;

use crate::client::Client;
use crate::process::Process;

/// A key, a file of identities, and a process that is started with them.
pub(crate) struct Workspace {
    directory: tempfile::TempDir,
    authorization: &'static str,
    /// The gateway's.
    pub(crate) key: PublicKey,
}

impl Workspace {
    /// Whose gateway lets these in.
    pub(crate) fn new(identities: &[&StaticSecret]) -> Self {
        let workspace = Self::with("--identities=identities.toml");
        workspace.list(identities);
        workspace
    }

    /// Whose gateway lets everyone in.
    pub(crate) fn open() -> Self {
        Self::with("--allow-any-identity")
    }

    fn with(authorization: &'static str) -> Self {
        let private_key = PrivateKey::generate().unwrap();
        let workspace = Self {
            directory: tempfile::tempdir().unwrap(),
            authorization,
            key: PublicKey::from(&private_key.to_secret()),
        };
        let file = workspace.path("private.key");
        fs::write(&file, private_key.to_base64()).unwrap();
        fs::set_permissions(file, fs::Permissions::from_mode(0o600)).unwrap();
        workspace
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Lists these and nobody else in the file of identities.
    pub(crate) fn list(&self, identities: &[&StaticSecret]) {
        let mut text = String::new();
        for identity in identities {
            let key = BASE64_STANDARD.encode(PublicKey::from(*identity));
            writeln!(text, "[[identity]]\npublic_key = \"{key}\"").unwrap();
        }
        self.replace_identities(&text);
    }

    /// Replaces the file of identities at once: there is no moment at which it is empty.
    pub(crate) fn replace_identities(&self, text: &str) {
        fs::write(self.path("new"), text).unwrap();
        fs::rename(self.path("new"), self.path("identities.toml")).unwrap();
    }

    /// `snapgate run` with one worker on a free port of loopback, and with more arguments.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_snapgate"));
        command
            .arg("run")
            .args([
                "--private-key-file=private.key",
                self.authorization,
                "--listen=127.0.0.1:0",
                "--workers=1",
                "--cpus=none",
                "--receive-buffer=64KiB",
                "--send-buffer=64KiB",
                "--metrics=127.0.0.1:0",
            ])
            .args(arguments)
            .current_dir(self.directory.path())
            .env_clear();
        command
    }

    /// The running gateway.
    pub(crate) fn start(&self, arguments: &[&str]) -> Process {
        let mut process = Process::start(self.command(arguments));
        process.wait_for("metrics are at");
        process
    }

    /// A client with a tunnel, at any port.
    pub(crate) fn connect(&self, process: &Process, identity: &StaticSecret) -> Client {
        Client::connect_as(identity.clone(), "127.0.0.1:0", listen(process), &self.key)
    }
}

/// Where tunnels come in.
pub(crate) fn listen(process: &Process) -> SocketAddr {
    process.address("tunnels come in at ")
}

/// Where metrics are.
pub(crate) fn metrics(process: &Process) -> SocketAddr {
    let (_, rest) = process.said.split_once("metrics are at http://").unwrap();
    rest.split_once('/').unwrap().0.parse().unwrap()
}

/// The private key of a peer.
pub(crate) fn identity() -> StaticSecret {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes).unwrap();
    StaticSecret::from(bytes)
}
