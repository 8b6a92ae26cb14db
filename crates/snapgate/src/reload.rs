//! Following the file of identities while the gateway runs.
//!
//! A thread looks at the file ten times a second, which takes a few system calls. That sees whatever replaces it:
//! a rename, an editor, a link that is swapped in a directory above, and changes on file systems that report
//! none (a network's, or another container's). It is read when it has been the same at two looks,
//! or was replaced at several in a row.
//!
//! The thread waits for no other process, but for the file system: while that does not answer, the identities
//! in force stay, and [`IdentityListStatus::last_check`](crate::authorization::IdentityListStatus) stands still.

use std::convert::Infallible;
use std::fmt::Display;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};
use std::{io, thread};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender};

use crate::authorization::IdentityList;
use crate::identities::{self, Listed};
use crate::keys::PublicKey;
use crate::service_manager::ServiceManager;

mod file_version;

pub(crate) use file_version::FileVersion;
use file_version::{Looks, SETTLE_TIME};

/// Two of them, the reading, and a round of the timers are what a revoked identity has left.
const LOOK_INTERVAL: Duration = SETTLE_TIME;

/// Of one file. The first ones help; who has a thousand needs `snapgate check`.
const MESSAGES_LOGGED: usize = 10;

/// The file that the identities were read from.
#[derive(Clone, Debug)]
pub(crate) struct IdentitiesFile {
    pub(crate) path: PathBuf,
    /// The gateway's, which is no peer's.
    pub(crate) own_key: Option<PublicKey>,
    /// What was read.
    pub(crate) version: FileVersion,
}

/// The thread that follows a file of identities. It ends after this is dropped.
pub(crate) struct IdentitiesReloader {
    asked: Sender<()>,
    ended: Receiver<Infallible>,
}

impl IdentitiesReloader {
    /// Keeps `list` to what is in `file`.
    pub(crate) fn start(
        file: IdentitiesFile,
        list: Arc<IdentityList>,
        manager: ServiceManager,
    ) -> io::Result<Self> {
        let (asked, requests) = crossbeam_channel::bounded(1);
        let (end, ended) = crossbeam_channel::bounded(0);
        thread::Builder::new()
            .name("identities".to_owned())
            .spawn(move || {
                let _dropped_by_a_panic: Sender<Infallible> = end;
                follow(&file, &list, &manager, &requests);
            })?;
        Ok(Self { asked, ended })
    }

    /// Has the file read again, whether or not it changed, and tells the service manager when that is done.
    pub(crate) fn reload(&self) {
        // Full: it is about to be read anyway.
        let _ = self.asked.try_send(());
    }

    /// Is closed when the thread has ended, which it does only by a panic.
    pub(crate) fn ended(&self) -> &Receiver<Infallible> {
        &self.ended
    }
}

fn follow(
    file: &IdentitiesFile,
    list: &IdentityList,
    manager: &ServiceManager,
    requests: &Receiver<()>,
) {
    let mut looks = Looks::new(file.version.clone(), Instant::now());
    let mut asked = false;
    loop {
        match requests.recv_timeout(LOOK_INTERVAL) {
            Ok(()) => asked = true,
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return,
        }
        let seen = FileVersion::of(&file.path);
        if !looks.is_due(&seen, Instant::now(), asked) {
            if looks.is_read(&seen) {
                list.note_check();
            }
            continue;
        }
        let listed = identities::read(&file.path, file.own_key);
        if !looks.is_good(&FileVersion::of(&file.path)) {
            // Written meanwhile, so perhaps read in halves. It is due again.
            continue;
        }
        let status = match listed {
            Ok(listed) => replace(file, list, &listed),
            Err(problems) => {
                list.note_failed_reload();
                log_some(&problems, |problem| tracing::error!("{problem}"));
                let stay = format!(
                    "the {} identities from before stay in force until {} is put right",
                    list.status().listed,
                    file.path.display(),
                );
                tracing::error!("{stay}");
                stay
            }
        };
        list.note_check();
        if std::mem::take(&mut asked) {
            manager.reloaded(&status);
        } else {
            manager.status(&status);
        }
    }
}

fn replace(file: &IdentitiesFile, list: &IdentityList, new: &Listed) -> String {
    // In force first, logged later.
    let changes = list.replace(&new.identities);
    log_some(&new.warnings, |warning| tracing::warn!("{warning}"));
    let status = format!("{}: {changes}", file.path.display());
    tracing::info!("{status}");
    status
}

fn log_some<T: Display>(messages: &[T], log: impl Fn(&dyn Display)) {
    let (logged, others) = messages.split_at(messages.len().min(MESSAGES_LOGGED));
    for message in logged {
        log(message);
    }
    if !others.is_empty() {
        log(&format_args!("and {} more like that", others.len()));
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::*;

    #[test]
    fn of_many_messages_some_are_logged_and_the_others_counted() {
        let logged = |messages: usize| {
            let log = RefCell::new(Vec::new());
            let messages: Vec<usize> = (1..=messages).collect();
            log_some(&messages, |message| {
                log.borrow_mut().push(message.to_string());
            });
            log.into_inner()
        };
        assert_eq!(logged(0), [""; 0]);
        assert_eq!(logged(10).last().unwrap(), "10");
        let many = logged(133);
        assert_eq!(
            (many.len(), many[10].as_str()),
            (11, "and 123 more like that")
        );
    }
}
