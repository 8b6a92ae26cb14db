//! The Unix socket of the local interface.

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::os::unix::fs::{
    DirBuilderExt as _, FileTypeExt as _, MetadataExt as _, OpenOptionsExt as _,
    PermissionsExt as _,
};
use std::os::unix::net::{SocketAddr, UnixListener};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::fs::{FlockOperation, flock};
use rustix::process::geteuid;
use tokio::net::UnixStream;
use tokio::sync::watch;

use crate::rpc::activity::Activity;
use crate::rpc::connections::{Connections, Origin};
use crate::rpc::log_limit::LogLimit;
use crate::rpc::metrics::{ConnectionEnd, ControlMetrics};
use crate::rpc::server::{Handler, serve};
use crate::rpc::settings::Limits;
use crate::rpc::start_error::{DirectoryError, StartError};

/// File name of the socket in its directory.
pub const SOCKET_NAME: &str = "control.sock";

/// File that the process which owns the socket keeps locked.
const LOCK_NAME: &str = "control.lock";

/// Name of the socket before its mode is set.
const NEW_NAME: &str = "control.sock.new";

/// Maximum number of open connections.
const CONNECTIONS: usize = 16;

/// Pause after an error of accept(2), which is a lack of files or memory.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Checks a directory for the control socket and the registrations, as a server does when it starts: only the user of
/// this process and root may replace files in it, and a socket must fit.
///
/// # Errors
///
/// The directory cannot be used.
pub fn check_directory(directory: &Path) -> Result<(), DirectoryError> {
    check(directory, Some(geteuid().as_raw()))
}

/// Checks a directory as [`check_directory`] does, but for a server that may run as another user: its owner does not
/// matter.
///
/// # Errors
///
/// The directory cannot be used.
pub fn check_directory_of_any_user(directory: &Path) -> Result<(), DirectoryError> {
    check(directory, None)
}

fn check(directory: &Path, user: Option<u32>) -> Result<(), DirectoryError> {
    let fail = |reason| DirectoryError {
        directory: directory.to_owned(),
        reason,
    };
    let metadata = fs::metadata(directory);
    let metadata = metadata.map_err(|error| fail(format!("cannot be read: {error}")))?;
    if let Some(reason) = exposure(metadata.mode(), metadata.uid(), user) {
        return Err(fail(reason));
    }
    if SocketAddr::from_pathname(directory.join(NEW_NAME)).is_err() {
        let reason = format!("the path of {SOCKET_NAME} in it is too long; use a shorter path");
        return Err(fail(reason));
    }
    let socket = fs::symlink_metadata(directory.join(SOCKET_NAME));
    if socket.is_ok_and(|file| !file.file_type().is_socket()) {
        let reason =
            format!("{SOCKET_NAME} in it is not a socket; move it away, or use another directory");
        return Err(fail(reason));
    }
    Ok(())
}

/// Returns which other users could replace files in a directory with this mode and owner, if it is used by `user`.
fn exposure(mode: u32, owner: u32, user: Option<u32>) -> Option<String> {
    if let Some(user) = user
        && ![0, user].contains(&owner)
    {
        return Some(format!(
            "it belongs to the user with uid {owner}, who could replace the control socket and the registrations; it \
             must belong to the user that runs the gateway (uid {user}) or to root: change its owner, or use another \
             directory"
        ));
    }
    (mode & 0o022 != 0).then(|| {
        format!(
            "users other than its owner can write to it (mode {:04o}), so they could replace the control socket and \
             the registrations; run `chmod go-w` on it, or use another directory",
            mode & 0o7777
        )
    })
}

/// The bound socket. Dropping it removes the file.
pub(in crate::rpc) struct LocalSocket {
    path: PathBuf,
    /// Device and inode of the file.
    id: (u64, u64),
    /// Keeps the lock.
    _lock: File,
}

impl LocalSocket {
    /// Binds the socket in `directory`. The file of a process that has ended is replaced.
    pub(in crate::rpc) fn bind(directory: &Path) -> Result<(Self, UnixListener), StartError> {
        let fail = |path: &Path, reason: String| StartError::Socket {
            path: path.to_owned(),
            reason,
        };
        if !directory.is_dir() {
            let create = DirBuilder::new().mode(0o700).create(directory);
            create.map_err(|error| {
                fail(directory, format!("cannot create the directory: {error}"))
            })?;
        }
        check_directory(directory)?;
        let lock_path = directory.join(LOCK_NAME);
        let lock = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .mode(0o600)
            .open(&lock_path)
            .map_err(|error| fail(&lock_path, format!("cannot open the lock file: {error}")))?;
        flock(&lock, FlockOperation::NonBlockingLockExclusive).map_err(|error| {
            let reason = if error == rustix::io::Errno::WOULDBLOCK {
                "another process serves this directory; use another directory".to_owned()
            } else {
                format!("cannot lock: {error}")
            };
            fail(&lock_path, reason)
        })?;
        let path = directory.join(SOCKET_NAME);
        let new_path = directory.join(NEW_NAME);
        // The socket gets its name after its mode, so that it never has another one, and replaces an old file at once.
        let bind = || -> io::Result<(UnixListener, (u64, u64))> {
            match fs::remove_file(&new_path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
            let listener = UnixListener::bind(&new_path)?;
            fs::set_permissions(&new_path, Permissions::from_mode(0o600))?;
            listener.set_nonblocking(true)?;
            fs::rename(&new_path, &path)?;
            let file = fs::symlink_metadata(&path)?;
            Ok((listener, (file.dev(), file.ino())))
        };
        let (listener, id) = bind().map_err(|error| fail(&path, error.to_string()))?;
        let socket = Self {
            path,
            id,
            _lock: lock,
        };
        Ok((socket, listener))
    }
}

impl Drop for LocalSocket {
    fn drop(&mut self) {
        let is_ours =
            fs::symlink_metadata(&self.path).is_ok_and(|file| (file.dev(), file.ino()) == self.id);
        if is_ours {
            // A file that stays behind is replaced by the next process.
            let _removed = fs::remove_file(&self.path);
        }
    }
}

/// Accepts connections of the server's user and of root until `stop` changes.
pub(in crate::rpc) async fn accept(
    listener: tokio::net::UnixListener,
    handler: impl Handler,
    limits: Limits,
    metrics: ControlMetrics,
    mut stop: watch::Receiver<()>,
) {
    let connections = Connections::new(CONNECTIONS, CONNECTIONS, metrics.clone());
    let mut warning = LogLimit::default();
    loop {
        let accepted = tokio::select! {
            biased;
            _ = stop.changed() => return,
            accepted = listener.accept() => accepted,
        };
        let stream = match accepted {
            Ok((stream, _)) => stream,
            Err(error) => {
                if warning.is_due(Instant::now()) {
                    tracing::warn!(%error, "cannot accept connection of the control socket");
                }
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        if !is_permitted(&stream) {
            metrics.ended(ConnectionEnd::Foreign);
            continue;
        }
        let activity = Arc::new(Activity::new(Instant::now()));
        let connection = serve(
            stream,
            handler.clone(),
            Arc::clone(&activity),
            limits,
            stop.clone(),
        );
        let open = metrics.accepted();
        let metrics = metrics.clone();
        let task = tokio::spawn(async move {
            let _open = open;
            if let Some(end) = connection.await {
                metrics.ended(end);
            }
        });
        let origin = Origin::of(IpAddr::V4(Ipv4Addr::LOCALHOST));
        connections.add(task.abort_handle(), origin, activity);
        tokio::task::yield_now().await;
    }
}

fn is_permitted(stream: &UnixStream) -> bool {
    let own = geteuid().as_raw();
    stream
        .peer_cred()
        .is_ok_and(|peer| [0, own].contains(&peer.uid()))
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixStream as Stream;

    use tempfile::TempDir;

    use super::*;

    fn refused(directory: &Path) -> String {
        match LocalSocket::bind(directory) {
            Ok(_) => panic!("bound"),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn only_its_user_may_connect_to_the_socket() {
        let parent = TempDir::new().unwrap();
        let directory = parent.path().join("control");
        let (_socket, _listener) = LocalSocket::bind(&directory).unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().mode() & 0o777;
        assert_eq!(mode(&directory), 0o700);
        assert_eq!(mode(&directory.join(SOCKET_NAME)), 0o600);
        assert!(Stream::connect(directory.join(SOCKET_NAME)).is_ok());
        assert!(!directory.join(NEW_NAME).exists());
    }

    #[test]
    fn the_socket_of_a_running_process_is_not_replaced() {
        let directory = TempDir::new().unwrap();
        let (socket, listener) = LocalSocket::bind(directory.path()).unwrap();
        assert!(refused(directory.path()).contains("another process"));
        assert!(Stream::connect(directory.path().join(SOCKET_NAME)).is_ok());
        drop((socket, listener));
        assert!(!directory.path().join(SOCKET_NAME).exists());
        assert!(LocalSocket::bind(directory.path()).is_ok());
    }

    #[test]
    fn the_socket_of_a_killed_process_is_replaced() {
        let directory = TempDir::new().unwrap();
        let path = directory.path().join(SOCKET_NAME);
        drop(UnixListener::bind(&path).unwrap());
        drop(UnixListener::bind(directory.path().join(NEW_NAME)).unwrap());
        assert!(Stream::connect(&path).is_err());
        let (_socket, _listener) = LocalSocket::bind(directory.path()).unwrap();
        assert!(Stream::connect(&path).is_ok());
    }

    #[test]
    fn a_file_that_is_not_a_socket_stays() {
        let directory = TempDir::new().unwrap();
        let path = directory.path().join(SOCKET_NAME);
        fs::write(&path, "precious").unwrap();
        assert!(refused(directory.path()).contains("is not a socket"));
        assert_eq!(fs::read_to_string(&path).unwrap(), "precious");
    }

    #[test]
    fn a_socket_of_another_process_is_not_removed() {
        let directory = TempDir::new().unwrap();
        let path = directory.path().join(SOCKET_NAME);
        let (socket, _listener) = LocalSocket::bind(directory.path()).unwrap();
        fs::remove_file(&path).unwrap();
        let _other = UnixListener::bind(&path).unwrap();
        drop(socket);
        assert!(path.exists());
    }

    #[test]
    fn a_directory_of_many_users_is_refused() {
        let directory = TempDir::new().unwrap();
        for mode in [0o777, 0o1777, 0o770] {
            fs::set_permissions(directory.path(), Permissions::from_mode(mode)).unwrap();
            let reason = refused(directory.path());
            assert!(
                reason.contains("could replace the control socket"),
                "{reason}"
            );
            assert!(reason.contains(&format!("(mode {mode:04o})")), "{reason}");
        }
        let files = fs::read_dir(directory.path()).unwrap();
        assert_eq!(files.count(), 0, "nothing was written to it");
    }

    #[test]
    fn a_directory_of_another_user_is_refused() {
        for (owner, own) in [(0, 0), (0, 1000), (1000, 1000)] {
            assert_eq!(exposure(0o755, owner, Some(own)), None);
        }
        for (owner, own) in [(1000, 0), (1001, 1000)] {
            let reason = exposure(0o700, owner, Some(own)).unwrap();
            assert!(
                reason.contains(&format!("the user with uid {owner}")),
                "{reason}"
            );
            assert!(reason.contains(&format!("(uid {own})")), "{reason}");
            assert_eq!(exposure(0o700, owner, None), None);
        }
    }

    #[test]
    fn a_directory_that_root_gave_away_is_refused() {
        if !geteuid().is_root() {
            return testkit::skip(
                "a_directory_that_root_gave_away_is_refused",
                "it needs root",
            );
        }
        let directory = TempDir::new().unwrap();
        std::os::unix::fs::chown(directory.path(), Some(65_534), None).unwrap();
        let reason = refused(directory.path());
        assert!(
            reason.contains("belongs to the user with uid 65534"),
            "{reason}"
        );
        assert!(check_directory_of_any_user(directory.path()).is_ok());
    }

    #[test]
    fn a_path_that_is_too_long_is_an_error() {
        let parent = TempDir::new().unwrap();
        let directory = parent.path().join("x".repeat(120));
        assert!(refused(&directory).contains("control.sock"));
    }
}
