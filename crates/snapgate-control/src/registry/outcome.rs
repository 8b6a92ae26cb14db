//! Results of registrations and revocations, and their counts.

use std::sync::atomic::{AtomicU64, Ordering};

use closed_enum::closed_enum;
use jiff::Timestamp;

closed_enum! {
    /// Reason why a registration was refused.
    pub enum Refusal {
        Expired: "expired", "the token has expired";
        /// A handshake with such a key has a shared secret that everyone knows.
        LowOrderIdentity: "low_order_identity", "the identity is a point of low order";
        IdTooLong: "id_too_long", "the token's pssid or jti is longer than 255 bytes";
        TokenRevoked: "token_revoked", "the token is revoked";
        PssidRevoked: "pssid_revoked", "the subscriber is revoked";
        IdentityRevoked: "identity_revoked", "the identity is revoked";
        TokenUsed: "token_used", "the token has registered another identity";
        IdentityTaken: "identity_taken", "the identity is registered with a token of another pssid";
        PssidLimit: "pssid_limit", "the subscriber has the maximum number of registrations";
        PssidTokenLimit: "pssid_token_limit", "the subscriber has the maximum number of replaced tokens";
        TotalLimit: "total_limit", "the registry has the maximum number of registrations";
        TotalTokenLimit: "total_token_limit", "the registry has the maximum number of replaced tokens";
        NotStored: "not_stored", "the registration could not be stored";
        /// The identity has no registration, see [`Registry::refuse_new_identities`](super::Registry::refuse_new_identities).
        ShuttingDown: "shutting_down", "the gateway is shutting down";
    }
}

closed_enum! {
    /// Effect of an accepted registration.
    pub enum Effect {
        New: "new", "the identity had no registration";
        Renewed: "renewed", "the registration has a new token or a later end";
        /// The token is the current one again, or one that ends earlier.
        Unchanged: "unchanged", "the registration was in force already and ends no later";
    }
}

/// An accepted registration. It is stored and in force.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Registered {
    /// End of the identity's registration, not before the end of the token.
    pub expires: Timestamp,
    /// What changed.
    pub effect: Effect,
}

/// An accepted revocation. It is stored and in force.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Revoked {
    /// Number of registrations that it ended.
    pub ended: usize,
    /// Its end.
    pub until: Timestamp,
}

/// Counts since the registry was opened.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Counts {
    /// Accepted registrations, by [`Effect::index`].
    pub accepted: [u64; Effect::ALL.len()],
    /// Refused registrations, by [`Refusal::index`].
    pub refused: [u64; Refusal::ALL.len()],
    /// Registrations that reached their end.
    pub expired: u64,
    /// Registrations that were ended by revocations.
    pub revoked: u64,
    /// Commits: writes to the store, of one or more registrations.
    pub commits: u64,
    /// Commits that failed.
    pub failed_commits: u64,
}

/// The counters behind [`Counts`].
#[derive(Debug, Default)]
pub(super) struct Counters {
    accepted: [AtomicU64; Effect::ALL.len()],
    refused: [AtomicU64; Refusal::ALL.len()],
    pub(super) expired: AtomicU64,
    pub(super) revoked: AtomicU64,
    pub(super) commits: AtomicU64,
    pub(super) failed_commits: AtomicU64,
}

impl Counters {
    /// Counts the result of a registration.
    pub(super) fn count(&self, result: Result<Registered, Refusal>) {
        let counter = match result {
            Ok(registered) => &self.accepted[registered.effect.index()],
            Err(refusal) => &self.refused[refusal.index()],
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    /// Returns the current counts.
    pub(super) fn read(&self) -> Counts {
        let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Counts {
            accepted: self.accepted.each_ref().map(load),
            refused: self.refused.each_ref().map(load),
            expired: load(&self.expired),
            revoked: load(&self.revoked),
            commits: load(&self.commits),
            failed_commits: load(&self.failed_commits),
        }
    }
}
