//! Where registrations take effect: the data plane.

use jiff::Timestamp;

use crate::claims::{Identity, Pssid, TokenId};

/// Permission to have tunnels.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Grant {
    /// Its end by the system clock.
    pub expires: Timestamp,
    /// The subscriber.
    pub pssid: Pssid,
    /// The token that registered the identity last.
    pub token: TokenId,
}

/// A change of one identity's grant.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct GrantChange {
    /// Whose grant.
    pub identity: Identity,
    /// The new grant; `None` ends the tunnels of the identity.
    pub grant: Option<Grant>,
}

/// The data plane, as far as the control plane knows it.
pub trait Grants: Send + Sync + 'static {
    /// Puts changes into force and returns when every shard observes them, without waiting for the shards' turns. A
    /// call with n changes costs O(n log size), not a copy of all grants.
    fn apply(&self, changes: &[GrantChange]);
}
