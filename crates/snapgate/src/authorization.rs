//! Authorization of tunnels: by a list of identities, or by the rules of an embedding program.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use jiff::Timestamp;
pub use snaptun::{Grant, SnapTunAuthorization};

use crate::config::{Authorization, CustomAuthorization};
use crate::identities::Identity;

/// The authorization of a gateway, shared by all workers.
pub(crate) enum Authorizer {
    /// Any identity that knows the gateway's public key.
    Any,
    /// The listed identities, until they expire.
    Listed(Arc<IdentityList>),
    /// Rules of an embedding program.
    Custom {
        rules: Arc<CustomAuthorization>,
        /// Number of times that all grants had to be asked for again.
        asked_again: AtomicU64,
    },
}

/// A list of identities that can be replaced while workers read it.
pub(crate) struct IdentityList {
    current: ArcSwap<ExpiryByKey>,
    generation: AtomicU64,
    last_reload_successful: AtomicBool,
    /// Seconds since the epoch.
    last_reload_success: AtomicI64,
    /// Seconds since the epoch.
    last_check: AtomicI64,
}

/// Expiry of each listed identity.
type ExpiryByKey = HashMap<[u8; 32], Option<Timestamp>, ahash::RandomState>;

/// Differences between a new list of identities and the previous one.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct IdentityChanges {
    /// Number of identities in the new list.
    pub listed: usize,
    /// Number of identities in the new list only.
    pub added: usize,
    /// Number of identities in the previous list only; their tunnels end.
    pub removed: usize,
    /// Number of identities in both lists with different expiry.
    pub expiry_changed: usize,
}

/// Status of the list, for the metrics.
pub(crate) struct IdentityListStatus {
    pub(crate) listed: usize,
    pub(crate) last_reload_successful: bool,
    /// Seconds since the epoch.
    pub(crate) last_reload_success: i64,
    /// Seconds since the epoch.
    pub(crate) last_check: i64,
}

impl Authorizer {
    pub(crate) fn new(authorization: &Authorization) -> Self {
        match authorization {
            Authorization::AnyIdentity => Self::Any,
            Authorization::Identities(identities) => {
                Self::Listed(Arc::new(IdentityList::new(identities)))
            }
            Authorization::Custom(rules) => Self::Custom {
                rules: Arc::clone(rules),
                asked_again: AtomicU64::new(0),
            },
        }
    }

    /// Returns the list, if there is one.
    pub(crate) fn list(&self) -> Option<&Arc<IdentityList>> {
        match self {
            Self::Any | Self::Custom { .. } => None,
            Self::Listed(list) => Some(list),
        }
    }

    /// Makes every shard ask for all its grants again, because the system clock was set. Returns false if no grant
    /// depends on it.
    pub(crate) fn ask_again(&self) -> bool {
        match self {
            Self::Any => return false,
            Self::Listed(list) => list.ask_again(),
            Self::Custom { asked_again, .. } => {
                asked_again.fetch_add(1, Ordering::Release);
            }
        }
        true
    }
}

impl IdentityList {
    fn new(identities: &[Identity]) -> Self {
        let now = Timestamp::now().as_second();
        Self {
            current: ArcSwap::from_pointee(by_key(identities)),
            generation: AtomicU64::new(0),
            last_reload_successful: AtomicBool::new(true),
            last_reload_success: AtomicI64::new(now),
            last_check: AtomicI64::new(now),
        }
    }

    /// Replaces the list. Every shard checks each of its tunnels again within a round of its timers.
    pub(crate) fn replace(&self, identities: &[Identity]) -> IdentityChanges {
        let new = Arc::new(by_key(identities));
        // `SnapTunAuthorization::generation` requires this order: the list first.
        let old = self.current.swap(Arc::clone(&new));
        let changes = IdentityChanges::between(&old, &new);
        if !changes.is_empty() {
            self.ask_again();
        }
        self.last_reload_success
            .store(Timestamp::now().as_second(), Ordering::Relaxed);
        self.last_reload_successful.store(true, Ordering::Relaxed);
        changes
    }

    /// Makes every shard check each of its tunnels again.
    fn ask_again(&self) {
        self.generation.fetch_add(1, Ordering::Release);
    }

    /// Records that a new list could not be read.
    pub(crate) fn note_failed_reload(&self) {
        self.last_reload_successful.store(false, Ordering::Relaxed);
    }

    /// Records that the file was checked and is the one that was read last.
    pub(crate) fn note_check(&self) {
        self.last_check
            .store(Timestamp::now().as_second(), Ordering::Relaxed);
    }

    pub(crate) fn status(&self) -> IdentityListStatus {
        IdentityListStatus {
            listed: self.current.load().len(),
            last_reload_successful: self.last_reload_successful.load(Ordering::Relaxed),
            last_reload_success: self.last_reload_success.load(Ordering::Relaxed),
            last_check: self.last_check.load(Ordering::Relaxed),
        }
    }
}

impl IdentityChanges {
    fn between(old: &ExpiryByKey, new: &ExpiryByKey) -> Self {
        let mut changes = Self {
            listed: new.len(),
            ..Self::default()
        };
        let mut kept = 0;
        for (key, expires) in new {
            match old.get(key) {
                None => changes.added += 1,
                Some(before) => {
                    kept += 1;
                    changes.expiry_changed += usize::from(before != expires);
                }
            }
        }
        changes.removed = old.len() - kept;
        changes
    }

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

fn by_key(identities: &[Identity]) -> ExpiryByKey {
    identities
        .iter()
        .map(|identity| (*identity.public_key.as_bytes(), identity.expires))
        .collect()
}

impl SnapTunAuthorization for Authorizer {
    type SessionData = ();

    fn is_authorized(&self, now: Instant, identity: &[u8; 32]) -> Option<Grant<()>> {
        let expires = match self {
            Self::Any => None,
            Self::Listed(list) => *list.current.load().get(identity)?,
            Self::Custom { rules, .. } => return rules.is_authorized(now, identity),
        };
        let Some(expires) = expires else {
            return Some(Grant {
                expires: None,
                session_data: (),
            });
        };
        // An identity expires by the system clock, a grant by the gateway's clock. Both count suspension, so the
        // difference changes only when the system clock is set, and then every shard asks again.
        let left = Duration::try_from(expires.duration_since(Timestamp::now())).ok()?;
        (!left.is_zero()).then(|| Grant {
            expires: Some(now + left),
            session_data: (),
        })
    }

    fn generation(&self) -> u64 {
        match self {
            Self::Any => 0,
            Self::Listed(list) => list.generation.load(Ordering::Acquire),
            // Small numbers of the program and of steps do not cancel each other.
            Self::Custom { rules, asked_again } => {
                rules.generation() ^ asked_again.load(Ordering::Acquire).rotate_right(16)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::PublicKey;

    fn identity(key: u8, expires: Option<i64>) -> Identity {
        Identity {
            public_key: PublicKey::from_bytes([key; 32]),
            name: None,
            expires: expires.map(|second| Timestamp::from_second(second).unwrap()),
        }
    }

    #[test]
    fn a_new_list_takes_effect_at_once() {
        let later = Timestamp::now().as_second() + 1000;
        let list = |identities: &[Identity]| Authorization::Identities(identities.to_vec());
        let authorization = Authorizer::new(&list(&[
            identity(1, None),
            identity(2, None),
            identity(3, Some(later)),
        ]));
        let now = Instant::now();
        let before = authorization.generation();

        let changes = authorization.list().unwrap().replace(&[
            identity(2, None),
            identity(3, Some(later + 1)),
            identity(4, None),
            identity(5, None),
        ]);

        let expected = IdentityChanges {
            listed: 4,
            added: 2,
            removed: 1,
            expiry_changed: 1,
        };
        assert_eq!(changes, expected);
        assert_ne!(authorization.generation(), before);
        let is_authorized = |key| authorization.is_authorized(now, &[key; 32]).is_some();
        assert_eq!([1, 2, 3, 4].map(is_authorized), [false, true, true, true]);
    }

    #[test]
    fn the_same_list_changes_nothing() {
        let identities = [identity(1, None), identity(2, None)];
        let authorization = Authorization::Identities(identities.to_vec());
        let authorization = Authorizer::new(&authorization);
        let changes = authorization.list().unwrap().replace(&identities);
        assert!(changes.is_empty());
        assert_eq!(changes.listed, 2);
    }

    #[test]
    fn a_failed_reload_is_reported_until_the_next_successful_one() {
        let authorization = Authorizer::new(&Authorization::Identities(Vec::new()));
        let list = authorization.list().unwrap();
        assert!(list.status().last_reload_successful);
        list.note_failed_reload();
        assert!(!list.status().last_reload_successful);
        list.replace(&[identity(1, None)]);
        assert!(list.status().last_reload_successful);
        assert_eq!(list.status().listed, 1);
    }

    #[test]
    fn any_identity_is_authorized_without_a_list() {
        let authorization = Authorizer::new(&Authorization::AnyIdentity);
        assert!(authorization.list().is_none());
        assert!(
            authorization
                .is_authorized(Instant::now(), &[9; 32])
                .is_some()
        );
    }
}
