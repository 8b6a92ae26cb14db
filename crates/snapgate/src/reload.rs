//! Reloading of the identities file while the gateway runs.
//!
//! A thread polls the file ten times a second, which takes a few system calls. Polling detects every kind of change: a
//! rename, an editor, a symbolic link that is swapped in a parent directory, and changes on file systems that report
//! none (a network's, or another container's). The file is read when two polls in a row find the same version, or
//! several in a row a new file.
//!
//! The thread asks another process for the file, so that it can be killed while the file system does not respond. That
//! process waits only for the file system, not for other processes. Meanwhile the identities stay in force, and
//! `snapgate_identities_last_check_timestamp_seconds` does not advance.

use std::convert::Infallible;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};
use std::{io, thread};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender};

use crate::authorization::{IdentityChanges, Registry};
use crate::config::place::Place;
use crate::config::problem::{Problem, Warning};
use crate::identities::{self, Listed};
use crate::keys::PrivateKey;
use crate::service_manager::ServiceManager;

mod file_version;
mod source;

pub(crate) use file_version::FileVersion;
use file_version::{Looks, SETTLE_TIME};
use source::Source;
pub(crate) use source::serve as serve_file;

/// Interval between polls. A revoked identity is served for at most two intervals, the time to read the file, and a
/// round of the timers.
const LOOK_INTERVAL: Duration = SETTLE_TIME;

/// Maximum number of faults, and of warnings, logged per reload; `snapgate check` shows all.
const MESSAGES_LOGGED: usize = 10;

/// The identities file, as it was read at the start.
#[derive(Clone, Debug)]
pub(crate) struct IdentitiesFile {
    pub(crate) path: PathBuf,
    /// Private key of the gateway. The file may contain neither it nor its public key.
    pub(crate) own_key: Option<PrivateKey>,
    /// The version that was read.
    pub(crate) version: FileVersion,
}

/// The thread that reloads the identities file. It ends after this is dropped.
pub(crate) struct IdentitiesReloader {
    asked: Sender<()>,
    ended: Receiver<Infallible>,
}

impl IdentitiesReloader {
    /// Starts to replace the identities of the file in `registry` whenever `file` changes.
    pub(crate) fn start(
        file: IdentitiesFile,
        registry: Arc<Registry>,
        manager: ServiceManager,
    ) -> io::Result<Self> {
        registry.note_file();
        let (asked, requests) = crossbeam_channel::bounded(1);
        let (end, ended) = crossbeam_channel::bounded(0);
        thread::Builder::new()
            .name("identities".to_owned())
            .spawn(move || {
                let _dropped_by_a_panic: Sender<Infallible> = end;
                follow(&file, &registry, &manager, &requests);
            })?;
        Ok(Self { asked, ended })
    }

    /// Requests a reload, even if the file has not changed. The service manager is notified of its end.
    pub(crate) fn reload(&self) {
        // Full: a reload is pending.
        let _ = self.asked.try_send(());
    }

    /// Returns a channel that is closed when the thread has ended, which happens only by a panic.
    pub(crate) fn ended(&self) -> &Receiver<Infallible> {
        &self.ended
    }
}

fn follow(
    file: &IdentitiesFile,
    registry: &Registry,
    manager: &ServiceManager,
    requests: &Receiver<()>,
) {
    let mut source = Source::open(&file.path);
    let mut looks = Looks::new(file.version.clone(), Instant::now());
    let mut asked = false;
    loop {
        match requests.recv_timeout(LOOK_INTERVAL) {
            Ok(()) => asked = true,
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return,
        }
        // Without the process that reads the file, another one is started next time.
        let Ok(seen) = source.version() else {
            continue;
        };
        if !looks.is_due(&seen, Instant::now(), asked) {
            if looks.is_read(&seen) {
                registry.note_check();
            }
            continue;
        }
        let (Ok(text), Ok(after)) = (source.read(), source.version()) else {
            looks.was_not_read();
            continue;
        };
        if !looks.is_good(&after) {
            // It changed while it was read, so the content may be incomplete. It is due again.
            continue;
        }
        let status = match identities::check(&file.path, text, file.own_key.as_ref()) {
            Ok(listed) => replace(file, registry, &listed),
            Err(problems) => {
                registry.note_failed_reload();
                log_faults(&file.path, &problems);
                let identities = registry.status().listed;
                tracing::error!(file = %file.path.display(), identities, "previous identities stay in force");
                format!(
                    "The previous identities stay in force: {} is not valid.",
                    file.path.display()
                )
            }
        };
        registry.note_check();
        if std::mem::take(&mut asked) {
            manager.reloaded(&status);
        } else {
            manager.status(&status);
        }
    }
}

/// Replaces the identities. Returns the result as a sentence.
fn replace(file: &IdentitiesFile, registry: &Registry, new: &Listed) -> String {
    // Enforced first, logged later.
    let changes = registry.replace(&new.identities);
    log_warnings(&file.path, &new.warnings);
    let path = file.path.display();
    let IdentityChanges {
        listed,
        added,
        removed,
        expiry_changed,
    } = changes;
    tracing::info!(
        file = %path,
        identities = listed,
        added,
        removed,
        expiry_changed,
        "identities reloaded"
    );
    format!("Reloaded {path}: {changes}.")
}

fn log_faults(path: &Path, problems: &[Problem]) {
    let (logged, omitted) = split(problems);
    for problem in logged {
        let place = problem.place.as_ref();
        tracing::error!(
            file = %place.and_then(Place::file).unwrap_or(path).display(),
            line = place.and_then(Place::line),
            error = %problem.fault,
            "invalid identities file"
        );
    }
    if omitted > 0 {
        tracing::error!(file = %path.display(), omitted, "more faults in identities file");
    }
}

fn log_warnings(path: &Path, warnings: &[Warning]) {
    let (logged, omitted) = split(warnings);
    for warning in logged {
        tracing::warn!(file = %path.display(), %warning, "identities file");
    }
    if omitted > 0 {
        tracing::warn!(file = %path.display(), omitted, "more warnings about identities file");
    }
}

/// Returns the messages to log, and the number of the others.
fn split<T>(messages: &[T]) -> (&[T], usize) {
    let (logged, omitted) = messages.split_at(messages.len().min(MESSAGES_LOGGED));
    (logged, omitted.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_ten_messages_are_logged() {
        assert_eq!(split::<u8>(&[]), (&[][..], 0));
        assert_eq!(split(&[7; 10]), (&[7; 10][..], 0));
        assert_eq!(split(&[7; 133]), (&[7; 10][..], 123));
    }
}
