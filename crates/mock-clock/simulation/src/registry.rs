//! Authorization layer of the simulated gateway.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use snaptun::{Grant, SnapTunAuthorization};

/// Session data of an identity.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Session {
    pub(crate) identity: usize,
    /// Number of changes so far.
    pub(crate) version: u32,
}

#[derive(Default)]
pub(crate) struct Registry {
    entries: Mutex<BTreeMap<[u8; 32], Entry>>,
    generation: AtomicU64,
}

struct Entry {
    session: Session,
    standing: Standing,
}

/// Authorization of an identity.
#[derive(Clone, Copy)]
enum Standing {
    Granted { until: Option<Instant> },
    Revoked { at: Instant },
}

impl Registry {
    pub(crate) fn grant(&self, key: [u8; 32], identity: usize, until: Option<Instant>) {
        let mut entries = self.entries();
        let version = entries.get(&key).map_or(0, |entry| entry.session.version);
        entries.insert(
            key,
            Entry {
                session: Session {
                    identity,
                    version: version + 1,
                },
                standing: Standing::Granted { until },
            },
        );
        drop(entries);
        self.generation.fetch_add(1, Ordering::Release);
    }

    pub(crate) fn revoke(&self, key: &[u8; 32], at: Instant) {
        if let Some(entry) = self.entries().get_mut(key) {
            entry.standing = Standing::Revoked { at };
        }
        self.generation.fetch_add(1, Ordering::Release);
    }

    /// Returns the session data of an authorized identity.
    pub(crate) fn session(&self, key: &[u8; 32], now: Instant) -> Option<Session> {
        let entries = self.entries();
        let entry = entries.get(key)?;
        let held = match entry.standing {
            Standing::Granted { until } => until.is_none_or(|until| now < until),
            Standing::Revoked { .. } => false,
        };
        held.then_some(entry.session)
    }

    /// Returns the number of an identity that was granted at least once.
    pub(crate) fn number_of(&self, key: &[u8; 32]) -> usize {
        let entries = self.entries();
        entries
            .get(key)
            .map_or(usize::MAX, |entry| entry.session.identity)
    }

    /// Returns the time since an identity lost its authorization; zero while it is authorized.
    pub(crate) fn time_without(&self, key: &[u8; 32], now: Instant) -> Duration {
        let end = match self.entries().get(key).map(|entry| entry.standing) {
            Some(Standing::Granted { until }) => until,
            Some(Standing::Revoked { at }) => Some(at),
            None => return Duration::MAX,
        };
        end.map_or(Duration::ZERO, |end| now.saturating_duration_since(end))
    }

    /// Returns true if an identity stays authorized until then unless it is revoked.
    pub(crate) fn lasts_until(&self, key: &[u8; 32], until: Instant) -> bool {
        match self.entries().get(key).map(|entry| entry.standing) {
            Some(Standing::Granted { until: end }) => end.is_none_or(|end| end > until),
            Some(Standing::Revoked { .. }) | None => false,
        }
    }

    fn entries(&self) -> MutexGuard<'_, BTreeMap<[u8; 32], Entry>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl SnapTunAuthorization for Registry {
    type SessionData = Session;

    fn is_authorized(&self, now: Instant, identity: &[u8; 32]) -> Option<Grant<Session>> {
        let session_data = self.session(identity, now)?;
        let expires = match self.entries().get(identity)?.standing {
            Standing::Granted { until } => until,
            Standing::Revoked { .. } => return None,
        };
        Some(Grant {
            expires,
            session_data,
        })
    }

    fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }
}
