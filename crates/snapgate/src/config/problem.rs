//! Errors in a configuration with their locations, and warnings.

use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use scion_packet::IsdAs;

use crate::config::fault::Fault;
use crate::config::place::Place;
use crate::config::setting::Setting;
use crate::config::text_file::FileFault;

/// An error and its location.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Problem {
    /// `None` for a missing setting.
    pub(crate) place: Option<Place>,
    pub(crate) setting: Option<&'static Setting>,
    pub(crate) fault: Fault,
}

impl Problem {
    /// Returns the problem of an unreadable file.
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
            // The names of flags and variables include that of the setting.
            (Some(place @ (Place::Flag(_) | Place::Environment(_))), _) | (Some(place), None) => {
                write!(f, "{place}: ")?;
            }
            (Some(place), Some(setting)) => write!(f, "{place}: {}: ", setting.name)?,
            (None, _) => {}
        }
        self.fault.fmt(f)
    }
}

/// A condition that does not prevent the start, but that the operator should know.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub(crate) enum Warning {
    #[error(
        "every client that knows the public key may open a tunnel (--allow-any-identity); not for \
         production"
    )]
    AnyIdentity,
    /// An environment variable that is similar to that of a setting.
    #[error("unknown environment variable {variable}; did you mean {nearest}?")]
    UnknownVariable { variable: String, nearest: String },
    /// The private key file is readable by all users.
    #[error(
        "{}: readable by other users (mode {mode:04o}); run `chmod o-rwx {}`",
        file.display(), file.display()
    )]
    KeyReadableByOthers { file: PathBuf, mode: u32 },
    /// The private key may be a public key.
    #[error(
        "{}: the key is not clamped like a WireGuard private key; check that it is not a public \
         key (`snapgate genkey` makes private keys)",
        .0.display()
    )]
    UnclampedPrivateKey(PathBuf),
    /// The state directory is writable by all users.
    #[error(
        "{}: writable by other users (mode {mode:04o}); run `chmod o-w {}`",
        directory.display(), directory.display()
    )]
    StateWritableByOthers { directory: PathBuf, mode: u32 },
    /// The control plane serves other hosts without TLS, and no proxy is in front of it.
    #[error(
        "the control plane serves plain HTTP at {addresses}, so clients send their tokens in clear text; set \
         --control-plane-certificate, or --behind-proxy if all of them come through a proxy with TLS"
    )]
    ControlPlaneInClearText { addresses: String },
    /// A control plane without a state directory.
    #[error(
        "registrations and revocations are lost at a restart, and `snapgate registrations` does not work; set \
         --state-dir"
    )]
    RegistrationsNotKept,
    #[error(
        "{}: no identities, so no client can open a tunnel; add an [[identity]] table for each client",
        .0.display()
    )]
    NoIdentities(PathBuf),
    #[error("{place}: identity {identity} expired at {expires}")]
    IdentityExpired {
        place: Place,
        /// Name, or public key of an identity without name.
        identity: String,
        expires: jiff::Timestamp,
    },
    /// A router of the topology, while others can be reached.
    #[error(
        "{place}: the internal address {internal} cannot reach the router {router} of {interface}: \
         {reason}; packets to that interface are dropped"
    )]
    UnreachableRouter {
        place: Place,
        internal: SocketAddr,
        router: SocketAddr,
        /// ISD-AS and interface.
        interface: String,
        reason: &'static str,
    },
    /// Addresses of one IP version are left out of the default listen addresses.
    #[error("not listening on {address}: {reason}; set --listen to choose the addresses")]
    FamilyUnavailable { address: SocketAddr, reason: String },
    /// Local ISD-AS numbers were derived from a topology and from next hops of another AS.
    #[error(
        "two local ASes: {of_topology} of {topology} and {of_next_hop} of {next_hop}; set --local-isd-as if this is \
         intended, otherwise correct one of them"
    )]
    TwoLocalAses {
        of_topology: IsdAs,
        topology: Place,
        of_next_hop: IsdAs,
        next_hop: Place,
    },
    #[error("no next hop: packets to other ASes are dropped; set --next-hop or --topology")]
    NoNextHop,
    /// A setting outside of its scope.
    #[error("{setting} (set by {place}) has no effect {condition}")]
    NoEffect {
        setting: &'static str,
        place: Place,
        /// For example `without --control-plane`.
        condition: String,
    },
    #[error(
        "{workers} workers exceed the cgroup quota of {cpus} CPUs and will be throttled under load; use \
         --workers auto, or raise the quota (CPUQuota= of the service)"
    )]
    WorkersOverQuota { workers: usize, cpus: String },
}
