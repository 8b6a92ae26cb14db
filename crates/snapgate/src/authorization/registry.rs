//! The registry: identities that may open a tunnel, from all sources.
//!
//! | source | entries | changed by |
//! | --- | --- | --- |
//! | identities file | identity, optional expiry | [`Registry::replace`], with the whole list |
//! | registrations | identity, expiry, [`Registration`] | [`Registry::apply`], with the differences |
//!
//! An identity has a grant while one of both sources says so. While the file does, its entry is the grant, and the
//! registration has no effect: a client that knows another client's public key and has a token of its own cannot have
//! traffic of that client accounted to another subscription. When the file's entry ends, shards ask again, and the
//! registration is the grant.
//!
//! A change is in force when the method that makes it returns: shards read the tables when they ask. They have to be told
//! only of grants that they hold and may no longer use. So there are two numbers, and most changes need neither:
//!
//! | change | `generation`: all tunnels are checked | `new_grants`: clients without a grant are checked |
//! | --- | --- | --- |
//! | first registration of an identity | - | changes |
//! | renewal: later expiry, another token of the subscription | - | - |
//! | end of a grant by its expiry; removal after that | - | - |
//! | return of an identity whose grant ended | - | changes |
//! | removal, earlier expiry, another subscription | changes | - |
//!
//! A renewal needs neither because a shard asks again when the grant in the tunnel ends, with the packet at hand or in
//! its next round of the timers, and then finds the later one; the tunnel is not touched. A grant that returns needs
//! `new_grants`, because the client may be silent for 10 s: the shard remembers it, and begins the handshake within a
//! round of the timers. Checking the remembered clients costs one look-up each, and there are few.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use snaptun::Grant;

use super::identity_changes::IdentityChanges;
use super::session::{Registration, SessionData};
use super::table::{Key, Table};
use crate::identities::Identity;

#[cfg(test)]
mod cost;
#[cfg(test)]
mod tests;

/// The identities that may open a tunnel: those of the identities file, and those that were registered.
///
/// Changes do not wait for workers, nor workers for changes.
pub struct Registry {
    /// Expiry of each identity in the file.
    listed: Table<Option<Timestamp>>,
    registered: Table<Registered>,
    /// Locked by threads that change a table.
    writer: Mutex<()>,
    generation: AtomicU64,
    new_grants: AtomicU64,
    /// The identities are those of a file that is followed.
    has_file: AtomicBool,
    last_reload_successful: AtomicBool,
    /// Seconds since the epoch.
    last_reload_success: AtomicI64,
    /// Seconds since the epoch.
    last_check: AtomicI64,
}

/// Change of a registration.
#[derive(Clone, PartialEq, Eq)]
pub struct RegistrationChange {
    /// Static public key of the client.
    pub identity: [u8; 32],
    /// The new registration, in place of an earlier one; `None` removes it.
    pub registered: Option<Registered>,
}

/// Registration of an identity.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Registered {
    /// End of the grant by the system clock.
    pub expires: Timestamp,
    /// Session data of the client's tunnels.
    pub registration: Arc<Registration>,
}

/// Counts and times for the metrics.
pub(crate) struct RegistryStatus {
    /// Number of identities in the file.
    pub(crate) listed: usize,
    pub(crate) registered: usize,
    /// False if the identities are not those of a file; the next fields mean nothing then.
    pub(crate) has_file: bool,
    pub(crate) last_reload_successful: bool,
    /// Seconds since the epoch.
    pub(crate) last_reload_success: i64,
    /// Seconds since the epoch.
    pub(crate) last_check: i64,
}

/// Grant of an identity by the tables.
struct InForce {
    /// `None`: never.
    end: Option<Timestamp>,
    registration: Option<Arc<Registration>>,
}

/// What the shards have to be told of changes.
#[derive(Default)]
struct News {
    /// Shards may hold grants that are no longer in force.
    ended: bool,
    /// An identity without a grant got one.
    granted: bool,
}

impl Registry {
    pub(crate) fn new(identities: &[Identity]) -> Self {
        let now = Timestamp::now().as_second();
        let listed = Table::new();
        listed.update(by_key(identities).map(|(key, expires)| (key, Some(expires))));
        Self {
            listed,
            registered: Table::new(),
            writer: Mutex::new(()),
            generation: AtomicU64::new(0),
            new_grants: AtomicU64::new(0),
            has_file: AtomicBool::new(false),
            last_reload_successful: AtomicBool::new(true),
            last_reload_success: AtomicI64::new(now),
            last_check: AtomicI64::new(now),
        }
    }

    /// Changes registrations. All changes are in force in every worker when this returns. Tunnels of identities without
    /// a grant end within a second. Of changes of the same identity, the last counts.
    ///
    /// The cost depends on the number of changes, not on that of registrations. An expired registration has no effect,
    /// but stays in memory until it is removed.
    pub fn apply(&self, changes: &[RegistrationChange]) {
        let _writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Timestamp::now();
        let mut news = News::default();
        for RegistrationChange {
            identity,
            registered,
        } in changes
        {
            let listed = self.listed.get(identity);
            let before = InForce::of(listed, self.registered.get(identity), now);
            let after = InForce::of(listed, registered.clone(), now);
            news.add(before.as_ref(), after.as_ref());
        }
        let changes = changes.iter();
        self.registered
            .update(changes.map(|change| (change.identity, change.registered.clone())));
        self.tell(&news);
    }

    /// Replaces the identities of the file. Of identities with the same public key, the last counts.
    pub(crate) fn replace(&self, identities: &[Identity]) -> IdentityChanges {
        let _writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        let new: HashMap<_, _, ahash::RandomState> = by_key(identities).collect();
        let mut changes = IdentityChanges {
            listed: new.len(),
            ..IdentityChanges::default()
        };
        let mut updates = Vec::new();
        for (key, expires) in &new {
            match self.listed.get(key) {
                None => changes.added += 1,
                Some(before) if before != *expires => changes.expiry_changed += 1,
                Some(_) => continue,
            }
            updates.push((*key, Some(*expires)));
        }
        self.listed.for_each_key(|key| {
            if !new.contains_key(key) {
                changes.removed += 1;
                updates.push((*key, None));
            }
        });
        let now = Timestamp::now();
        let mut news = News::default();
        for (key, listed) in &updates {
            let registered = self.registered.get(key);
            let before = InForce::of(self.listed.get(key), registered.clone(), now);
            let after = InForce::of(*listed, registered, now);
            news.add(before.as_ref(), after.as_ref());
        }
        self.listed.update(updates);
        self.tell(&news);
        self.last_reload_success
            .store(now.as_second(), Ordering::Relaxed);
        self.last_reload_successful.store(true, Ordering::Relaxed);
        changes
    }

    /// Makes every shard ask for all its grants again, because the system clock was set.
    pub(crate) fn ask_again(&self) {
        self.tell(&News {
            ended: true,
            granted: true,
        });
    }

    /// Tells the shards of changes. `SnapTunAuthorization::generation` requires that this is done after them.
    fn tell(&self, news: &News) {
        if news.ended {
            self.generation.fetch_add(1, Ordering::Release);
        }
        if news.granted {
            self.new_grants.fetch_add(1, Ordering::Release);
        }
    }

    /// Returns the grant of an identity. `now` is the time of the gateway's clock.
    pub(super) fn grant(&self, now: Instant, identity: &Key) -> Option<Grant<SessionData>> {
        let wall = Timestamp::now();
        let listed = self.listed.get(identity);
        let in_force = InForce::of(listed, self.registered.get(identity), wall)?;
        let expires = match in_force.end {
            None => None,
            // An identity expires by the system clock, a grant by the gateway's clock. Both count suspension, so the
            // difference changes only when the system clock is set, and then every shard asks again.
            Some(end) => {
                let left = Duration::try_from(end.duration_since(wall)).ok()?;
                Some(now + left)
            }
        };
        let session_data = in_force.registration.map(SessionData::from);
        Some(Grant {
            expires,
            session_data: session_data.unwrap_or_default(),
        })
    }

    pub(super) fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    pub(super) fn new_grants(&self) -> u64 {
        self.new_grants.load(Ordering::Acquire)
    }

    /// Records that the identities are those of a file that is followed.
    pub(crate) fn note_file(&self) {
        self.has_file.store(true, Ordering::Relaxed);
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

    pub(crate) fn status(&self) -> RegistryStatus {
        RegistryStatus {
            listed: self.listed.len(),
            registered: self.registered.len(),
            has_file: self.has_file.load(Ordering::Relaxed),
            last_reload_successful: self.last_reload_successful.load(Ordering::Relaxed),
            last_reload_success: self.last_reload_success.load(Ordering::Relaxed),
            last_check: self.last_check.load(Ordering::Relaxed),
        }
    }
}

impl InForce {
    /// Returns the grant of an identity by its entry of the file, or else by its registration.
    fn of(
        listed: Option<Option<Timestamp>>,
        registered: Option<Registered>,
        now: Timestamp,
    ) -> Option<Self> {
        if let Some(end) = listed
            && end.is_none_or(|end| end > now)
        {
            return Some(Self {
                end,
                registration: None,
            });
        }
        let registered = registered.filter(|registered| registered.expires > now)?;
        Some(Self {
            end: Some(registered.expires),
            registration: Some(registered.registration),
        })
    }

    fn ends_before(&self, other: &Self) -> bool {
        match (self.end, other.end) {
            (Some(end), Some(other)) => end < other,
            (Some(_), None) => true,
            (None, _) => false,
        }
    }

    fn pssid(&self) -> Option<&str> {
        self.registration
            .as_ref()
            .map(|registration| &*registration.pssid)
    }
}

impl News {
    /// Adds the change of the grant of an identity.
    fn add(&mut self, before: Option<&InForce>, after: Option<&InForce>) {
        match (before, after) {
            // Shards know the end of a grant that has ended by itself.
            (None, None) => {}
            (None, Some(_)) => self.granted = true,
            (Some(_), None) => self.ended = true,
            (Some(before), Some(after)) => {
                self.ended |= after.ends_before(before) || after.pssid() != before.pssid();
            }
        }
    }
}

fn by_key(identities: &[Identity]) -> impl Iterator<Item = (Key, Option<Timestamp>)> {
    identities
        .iter()
        .map(|identity| (*identity.public_key.as_bytes(), identity.expires))
}
