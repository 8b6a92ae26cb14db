//! Who may have a tunnel, as configured.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use snaptun::{Grant, SnapTunAuthorization};

use crate::config::Authorization;

/// The configured identities, shared by all workers and never written after the start.
pub(crate) enum ConfiguredIdentities {
    /// Whoever knows the gateway's public key.
    Any,
    /// The listed identities, until they expire.
    Listed(HashMap<[u8; 32], Option<Timestamp>, ahash::RandomState>),
}

impl ConfiguredIdentities {
    pub(crate) fn new(authorization: &Authorization) -> Self {
        match authorization {
            Authorization::AnyIdentity => Self::Any,
            Authorization::Identities(identities) => Self::Listed(
                identities
                    .iter()
                    .map(|identity| (*identity.public_key.as_bytes(), identity.expires))
                    .collect(),
            ),
        }
    }
}

impl SnapTunAuthorization for ConfiguredIdentities {
    type SessionData = ();

    fn is_authorized(&self, now: Instant, identity: &[u8; 32]) -> Option<Grant<()>> {
        let expires = match self {
            Self::Any => None,
            Self::Listed(identities) => *identities.get(identity)?,
        };
        let Some(expires) = expires else {
            return Some(Grant {
                expires: None,
                session_data: (),
            });
        };
        // A grant ends at a point of civil time, the shard counts monotonic time: the difference
        // is taken anew whenever the shard asks.
        let left = Duration::try_from(expires.duration_since(Timestamp::now())).ok()?;
        (!left.is_zero()).then(|| Grant {
            expires: Some(now + left),
            session_data: (),
        })
    }

    fn generation(&self) -> u64 {
        0
    }
}
