//! Problems with a configuration, and warnings.

use std::fmt;
use std::path::{Path, PathBuf};

use crate::config::fault::Fault;
use crate::config::place::Place;
use crate::config::setting::Setting;
use crate::config::text_file::FileFault;

/// One thing that is wrong.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Problem {
    /// Where it is; a missing setting is nowhere.
    pub(crate) place: Option<Place>,
    /// The setting it is about.
    pub(crate) setting: Option<&'static Setting>,
    /// What is wrong and how to put it right.
    pub(crate) fault: Fault,
}

impl Problem {
    /// That a file cannot be read at all.
    pub(crate) fn with_file(path: &Path, fault: FileFault) -> Self {
        Self {
            place: Some(Place::File(path.into())),
            setting: None,
            fault: fault.into(),
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.place, self.setting) {
            // The flag and the variable name the setting already.
            (Some(place @ (Place::Flag(_) | Place::Environment(_))), _) | (Some(place), None) => {
                write!(f, "{place}: ")?;
            }
            (Some(place), Some(setting)) => write!(f, "{place}: {}: ", setting.name)?,
            (None, _) => {}
        }
        self.fault.fmt(f)
    }
}

/// Something to know before it surprises.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub(crate) enum Warning {
    /// Everyone is let in.
    #[error(
        "EVERYONE who knows the public key may open a tunnel (--allow-any-identity): not for \
         production"
    )]
    AnyIdentity,
    /// An environment variable that looks like a setting and is none.
    #[error("the environment variable {variable} is not known; did you mean {nearest}?")]
    UnknownVariable {
        /// The variable.
        variable: String,
        /// The variable of the setting that is most like it.
        nearest: String,
    },
    /// Others can read the private key.
    #[error(
        "{} can be read by others (mode {mode:04o}); run `chmod o-rwx {}`",
        file.display(), file.display()
    )]
    KeyReadableByOthers {
        /// The key file.
        file: PathBuf,
        /// Its permissions.
        mode: u32,
    },
    /// The private key may be a public one.
    #[error(
        "{} holds a key that is not clamped, as private keys of WireGuard are: is it a public key? \
         `snapgate genkey` makes private keys",
        .0.display()
    )]
    UnclampedPrivateKey(PathBuf),
    /// Others can write to the state directory.
    #[error(
        "{} can be written to by others (mode {mode:04o}); run `chmod o-w {}`",
        directory.display(), directory.display()
    )]
    StateWritableByOthers {
        /// The directory.
        directory: PathBuf,
        /// Its permissions.
        mode: u32,
    },
    /// Nobody is let in.
    #[error("{} names no identity, so nobody can open a tunnel", .0.display())]
    NoIdentities(PathBuf),
    /// An identity that is of no use.
    #[error("{place}: the identity {identity} expired at {expires}")]
    IdentityExpired {
        /// The line.
        place: Place,
        /// Its name or key.
        identity: String,
        /// Since when.
        expires: jiff::Timestamp,
    },
    /// Nothing leaves the AS.
    #[error(
        "there is no next hop: packets to other ASes are dropped; add --next-hop or --topology"
    )]
    NoNextHop,
    /// Set, but of no use.
    #[error("{setting} (set by {place}) has no effect with --forward {forward}")]
    NoEffect {
        /// The setting.
        setting: &'static str,
        /// Where it was set.
        place: Place,
        /// The way of forwarding.
        forward: &'static str,
    },
    /// More workers than CPU time.
    #[error(
        "{workers} workers have {cpus} CPUs of time (cgroup quota) and will be throttled under load"
    )]
    WorkersOverQuota {
        /// The workers asked for.
        workers: usize,
        /// The quota.
        cpus: String,
    },
}
