//! Who may have a tunnel: the authorization layer of the simulated gateway.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use snaptun::{Grant, SnapTunAuthorization};

/// What the authorization layer says about an identity.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Session {
    pub(crate) identity: usize,
    /// Counts what was said about it.
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

/// How an identity stands.
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

    /// What is said about an identity that may have a tunnel.
    pub(crate) fn session(&self, key: &[u8; 32], now: Instant) -> Option<Session> {
        let entries = self.entries();
        let entry = entries.get(key)?;
        let held = match entry.standing {
            Standing::Granted { until } => until.is_none_or(|until| now < until),
            Standing::Revoked { .. } => false,
        };
        held.then_some(entry.session)
    }

    /// The number of an identity that was ever granted anything.
    pub(crate) fn number_of(&self, key: &[u8; 32]) -> usize {
        let entries = self.entries();
        entries
            .get(key)
            .map_or(usize::MAX, |entry| entry.session.identity)
    }

    /// How long an identity has not been allowed a tunnel. Zero: it is, or not for any time.
    pub(crate) fn time_without(&self, key: &[u8; 32], now: Instant) -> Duration {
        let end = match self.entries().get(key).map(|entry| entry.standing) {
            Some(Standing::Granted { until }) => until,
            Some(Standing::Revoked { at }) => Some(at),
            None => return Duration::MAX,
        };
        end.map_or(Duration::ZERO, |end| now.saturating_duration_since(end))
    }

    /// Whether an identity keeps what it has until then, if nobody revokes it.
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
