//! Authorization of tunnels: by a registry of identities, or by the rules of an embedding program.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

pub use snaptun::{Grant, SnapTunAuthorization};

pub use self::identity_changes::IdentityChanges;
pub use self::registry::{Registered, RegistrationChange, Registry};
pub use self::session::{Registration, SessionData};
use crate::config::{Authorization, CustomAuthorization};

mod identity_changes;
mod registry;
mod session;
mod table;

/// The authorization of a gateway, shared by all workers.
pub(crate) enum Authorizer {
    /// Any identity that knows the gateway's public key.
    Any,
    /// The identities in the registry, until they expire.
    Registry(Arc<Registry>),
    /// Rules of an embedding program.
    Custom {
        rules: Arc<CustomAuthorization>,
        /// Number of times that all grants had to be asked for again.
        asked_again: AtomicU64,
    },
}

impl Authorizer {
    pub(crate) fn new(authorization: &Authorization) -> Self {
        match authorization {
            Authorization::AnyIdentity => Self::Any,
            Authorization::Identities(identities) => {
                Self::Registry(Arc::new(Registry::new(identities)))
            }
            Authorization::Custom(rules) => Self::Custom {
                rules: Arc::clone(rules),
                asked_again: AtomicU64::new(0),
            },
        }
    }

    /// Returns the registry, if there is one.
    pub(crate) fn registry(&self) -> Option<&Arc<Registry>> {
        match self {
            Self::Any | Self::Custom { .. } => None,
            Self::Registry(registry) => Some(registry),
        }
    }

    /// Makes every shard ask for all its grants again, because the system clock was set. Returns false if no grant
    /// depends on it.
    pub(crate) fn ask_again(&self) -> bool {
        match self {
            Self::Any => return false,
            Self::Registry(registry) => registry.ask_again(),
            Self::Custom { asked_again, .. } => {
                asked_again.fetch_add(1, Ordering::Release);
            }
        }
        true
    }
}

impl SnapTunAuthorization for Authorizer {
    type SessionData = SessionData;

    fn is_authorized(&self, now: Instant, identity: &[u8; 32]) -> Option<Grant<SessionData>> {
        match self {
            Self::Any => Some(Grant {
                expires: None,
                session_data: SessionData::default(),
            }),
            Self::Registry(registry) => registry.grant(now, identity),
            Self::Custom { rules, .. } => rules.is_authorized(now, identity),
        }
    }

    fn generation(&self) -> u64 {
        match self {
            Self::Any => 0,
            Self::Registry(registry) => registry.generation(),
            Self::Custom { rules, asked_again } => after_steps(rules.generation(), asked_again),
        }
    }

    fn new_grants(&self) -> u64 {
        match self {
            Self::Any => 0,
            Self::Registry(registry) => registry.new_grants(),
            Self::Custom { rules, asked_again } => after_steps(rules.new_grants(), asked_again),
        }
    }
}

/// Returns a number that changes with that of the program, and with every step of the clock. Small numbers of both do
/// not cancel each other.
fn after_steps(number: u64, asked_again: &AtomicU64) -> u64 {
    number ^ asked_again.load(Ordering::Acquire).rotate_right(16)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_identity_is_authorized_without_a_registry() {
        let authorization = Authorizer::new(&Authorization::AnyIdentity);
        assert!(authorization.registry().is_none());
        assert!(
            authorization
                .is_authorized(Instant::now(), &[9; 32])
                .is_some()
        );
    }
}
