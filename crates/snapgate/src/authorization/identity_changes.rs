//! Differences between two lists of identities.

use std::fmt;

/// Differences between a new list of identities and the previous one.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct IdentityChanges {
    /// Number of identities in the new list.
    pub listed: usize,
    /// Number of identities in the new list only.
    pub added: usize,
    /// Number of identities in the previous list only. Their tunnels end, except for those with a registration.
    pub removed: usize,
    /// Number of identities in both lists with different expiry.
    pub expiry_changed: usize,
}

impl IdentityChanges {
    /// Returns true if the lists are equal.
    pub fn is_empty(&self) -> bool {
        (self.added, self.removed, self.expiry_changed) == (0, 0, 0)
    }
}

impl fmt::Display for IdentityChanges {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            listed,
            added,
            removed,
            expiry_changed,
        } = self;
        let noun = if *listed == 1 {
            "identity"
        } else {
            "identities"
        };
        if self.is_empty() {
            return write!(f, "{listed} {noun}, unchanged");
        }
        write!(
            f,
            "{listed} {noun} ({added} added, {removed} removed, {expiry_changed} with a different expiry)"
        )
    }
}
