//! A gateway in a process of its own, under a supervisor that starts it again.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use snapgate::keys::{PrivateKey, PublicKey};
use tempfile::TempDir;
use tokio::sync::oneshot;

use crate::{in_time, own_address, private_key};

/// What the gateway says when it is ready, before the address.
const READY: &str = "tunnels come in at ";

/// A gateway that sends every packet back into its tunnel, in a process of its own.
pub struct SupervisedGateway {
    program: PathBuf,
    arguments: Vec<String>,
    /// With its key.
    directory: TempDir,
    key: PrivateKey,
    listen: SocketAddr,
    process: Child,
}

impl SupervisedGateway {
    /// Starts `program`, the `snapgate` command, with more `arguments`.
    ///
    /// # Panics
    ///
    /// When it does not start.
    pub async fn start(program: impl Into<PathBuf>, arguments: &[String]) -> Self {
        let key = private_key();
        let directory = tempfile::tempdir().expect("a directory");
        let key_file = directory.path().join("private.key");
        fs::write(&key_file, &*key.to_base64()).expect("a key file");
        fs::set_permissions(&key_file, fs::Permissions::from_mode(0o600)).expect("permissions");

        let program = program.into();
        let listen = own_address();
        let (process, listen, _) = spawn(&program, directory.path(), arguments, listen).await;
        Self {
            program,
            arguments: arguments.to_vec(),
            directory,
            key,
            listen,
            process,
        }
    }

    /// The key that clients need to know.
    #[must_use]
    pub fn public_key(&self) -> PublicKey {
        self.key.public_key()
    }

    /// Where clients send.
    #[must_use]
    pub const fn listen_address(&self) -> SocketAddr {
        self.listen
    }

    /// Kills the process (SIGKILL) and starts another in its place. Returns when that was ready.
    ///
    /// # Panics
    ///
    /// When it does not start.
    pub async fn kill_and_restart(&mut self) -> Instant {
        self.kill();
        let directory = self.directory.path();
        let (process, _, ready) =
            spawn(&self.program, directory, &self.arguments, self.listen).await;
        self.process = process;
        ready
    }

    fn kill(&mut self) {
        // It may have ended.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Drop for SupervisedGateway {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Starts the process and waits until it is ready.
async fn spawn(
    program: &Path,
    directory: &Path,
    arguments: &[String],
    listen: SocketAddr,
) -> (Child, SocketAddr, Instant) {
    let mut process = Command::new(program)
        .args(["run", "--private-key-file=private.key", "--forward=echo"])
        .args(["--allow-any-identity", "--workers=2", "--cpus=none"])
        .arg(format!("--listen={listen}"))
        .args(arguments)
        .current_dir(directory)
        .env_clear()
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program runs");
    let log = process.stderr.take().expect("a pipe");
    let (tell, told) = oneshot::channel();
    // It reads on until the process ends, which would otherwise fill the pipe and wait.
    std::thread::spawn(move || {
        let mut tell = Some(tell);
        for line in BufReader::new(log).lines().map_while(Result::ok) {
            let address = line.split_once(READY).map(|(_, address)| address.parse());
            if let Some(Ok(address)) = address
                && let Some(tell) = tell.take()
            {
                // A test that has failed does not wait any more.
                let _ = tell.send((address, Instant::now()));
            }
        }
    });
    let (listen, ready) = in_time("the gateway's start", told)
        .await
        .expect("the gateway says that it is ready");
    (process, listen, ready)
}
