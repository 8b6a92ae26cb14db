//! The registry that all handles share.
//!
//! Requests are handled in batches by one thread at a time (`batches`, `handling`). A batch is decided and changes the
//! contents in memory, is stored in one commit, and is put into force by one [`Grants::apply`]; then it is answered. If
//! it cannot be stored, the contents are changed back. A revocation is in force before it is stored, because storage may
//! hang.

mod handling;

use std::collections::BTreeMap;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use jiff::Timestamp;

use crate::claims::{Claims, Identity};
use crate::grants::{GrantChange, Grants};
use crate::registry::batches::{Answer, Batches, Pending};
use crate::registry::entry::{Change, Key, Record, Selector};
use crate::registry::error::{RevokeError, StoreError};
use crate::registry::history::History;
use crate::registry::outcome::{Counters, Refusal, Registered, Revoked};
use crate::registry::rules::{self, Limits, Plan};
use crate::registry::state::State;
use crate::registry::store::{Contents, Durability, Store, Upkeep};

/// Maximum number of ended records that are removed while the contents are locked.
const ENDED_PER_SLICE: usize = 256;

/// A registry. The documentation of the module [`registry`](crate::registry) lists its locks.
pub(super) struct Shared {
    limits: Limits,
    grants: Arc<dyn Grants>,
    batches: Batches<Request>,
    writer: Mutex<Writer>,
    in_force: Mutex<()>,
    state: RwLock<State>,
    history: Arc<History>,
    counters: Counters,
    /// Only renewals are accepted.
    refuses_new: AtomicBool,
}

/// The store, and what it lacks.
struct Writer {
    store: Box<dyn Store>,
    /// Changes by revocations that could not be stored. The next commit stores them first.
    unsaved: BTreeMap<Key, Change>,
}

/// A revocation that was handed in to be stored.
pub(super) type Storing = Pending<Result<Revoked, RevokeError>>;

/// A request that waits to be handled.
enum Request {
    Register {
        claims: Claims,
        identity: Identity,
        now: Timestamp,
        answer: Answer<Result<Registered, Refusal>>,
    },
    Revoke {
        selector: Selector,
        until: Option<Timestamp>,
        now: Timestamp,
        answer: Answer<Result<Revoked, RevokeError>>,
    },
    Unrevoke {
        selector: Selector,
        now: Timestamp,
        answer: Answer<Result<bool, StoreError>>,
    },
    /// Removes a slice of ended records; the answer is their number.
    Expire {
        now: Timestamp,
        answer: Answer<usize>,
    },
    /// A step of [`Store::upkeep`].
    Upkeep {
        synced: Option<io::Result<()>>,
        answer: Answer<Upkeep>,
    },
}

impl Writer {
    /// Stores changes, after those that could not be stored before.
    fn commit(&mut self, changes: &[Change], durability: Durability) -> Result<(), StoreError> {
        if self.unsaved.is_empty() {
            return self.store.commit(changes, durability);
        }
        let unsaved = self.unsaved.values().cloned();
        let all: Vec<_> = unsaved.chain(changes.iter().cloned()).collect();
        self.store.commit(&all, Durability::Machine)?;
        self.unsaved.clear();
        Ok(())
    }
}

impl Shared {
    pub(super) fn new(
        limits: Limits,
        grants: Arc<dyn Grants>,
        store: Box<dyn Store>,
        state: State,
    ) -> Self {
        Self {
            limits,
            grants,
            batches: Batches::new(),
            history: Arc::clone(store.history()),
            writer: Mutex::new(Writer {
                store,
                unsaved: BTreeMap::new(),
            }),
            in_force: Mutex::new(()),
            state: RwLock::new(state),
            counters: Counters::default(),
            refuses_new: AtomicBool::new(false),
        }
    }

    fn lock_writer(&self) -> MutexGuard<'_, Writer> {
        self.writer.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lock_in_force(&self) -> MutexGuard<'_, ()> {
        self.in_force.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Locks the contents for reading.
    pub(super) fn state(&self) -> RwLockReadGuard<'_, State> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn state_mut(&self) -> RwLockWriteGuard<'_, State> {
        self.state.write().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn history(&self) -> &Arc<History> {
        &self.history
    }

    pub(super) fn counters(&self) -> &Counters {
        &self.counters
    }

    /// Puts all grants into force.
    pub(super) fn begin(&self) {
        let _order = self.lock_in_force();
        let state = self.state();
        let all = state.registrations_after(None);
        let grants: Vec<_> = all
            .map(|(identity, grant)| GrantChange {
                identity: *identity,
                grant: Some(grant.clone()),
            })
            .collect();
        drop(state);
        if !grants.is_empty() {
            self.grants.apply(&grants);
        }
    }

    pub(super) fn register(
        &self,
        claims: &Claims,
        identity: Identity,
        now: Timestamp,
    ) -> Result<Registered, Refusal> {
        let request = |answer| Request::Register {
            claims: claims.clone(),
            identity,
            now,
            answer,
        };
        let result = if self.refuses(&identity, now) {
            Err(Refusal::ShuttingDown)
        } else {
            self.submit(request).unwrap_or(Err(Refusal::NotStored))
        };
        self.counters.count(result);
        result
    }

    pub(super) fn refuse_new_identities(&self) {
        self.refuses_new.store(true, Ordering::Relaxed);
    }

    /// Returns true if only renewals are accepted, and an identity has no registration.
    fn refuses(&self, identity: &Identity, now: Timestamp) -> bool {
        self.refuses_new.load(Ordering::Relaxed)
            && rules::live_grant(&self.state(), identity, now).is_none()
    }

    /// Puts a revocation into force, and hands it in to be stored. Does not wait for the store.
    pub(super) fn begin_revoke(
        &self,
        selector: &Selector,
        until: Option<Timestamp>,
        now: Timestamp,
    ) -> Result<(Revoked, Storing), RevokeError> {
        let revoked = self.cut_off(selector, until, now)?;
        let request = |answer| Request::Revoke {
            selector: selector.clone(),
            until,
            now,
            answer,
        };
        Ok((revoked, self.batches.hand_in(request)))
    }

    /// Waits until a revocation is stored.
    pub(super) fn finish_revoke(&self, storing: Storing) -> Result<Revoked, RevokeError> {
        let panicked = || Err(RevokeError::NotStored(StoreError::Panicked));
        let stored = self.batches.wait(storing, || self.handle_batch());
        stored.unwrap_or_else(panicked)
    }

    /// Puts a revocation into force without waiting for the store. The registrations that it ends stay in the contents
    /// until it is handled, because a batch that cannot be stored may put them back.
    fn cut_off(
        &self,
        selector: &Selector,
        until: Option<Timestamp>,
        now: Timestamp,
    ) -> Result<Revoked, RevokeError> {
        let _order = self.lock_in_force();
        let mut state = self.state_mut();
        let Plan { revocation, ended } = rules::revoke(&state, selector, until, now)?;
        let revoked = Revoked {
            ended: ended.len(),
            until: revocation.until,
        };
        let _previous = state.apply(Change::Put(Record::Revocation(revocation)));
        drop(state);
        let end = |identity| GrantChange {
            identity,
            grant: None,
        };
        let grants: Vec<_> = ended.into_iter().map(end).collect();
        if !grants.is_empty() {
            self.grants.apply(&grants);
        }
        Ok(revoked)
    }

    pub(super) fn unrevoke(&self, selector: &Selector, now: Timestamp) -> Result<bool, StoreError> {
        let request = |answer| Request::Unrevoke {
            selector: selector.clone(),
            now,
            answer,
        };
        let panicked = || Err(StoreError::Panicked);
        self.submit(request).unwrap_or_else(panicked)
    }

    /// Removes records that have ended, and does the store's upkeep. Returns the next end of a record.
    pub(super) fn expire(&self, now: Timestamp) -> Option<Timestamp> {
        while self.state().first_end().is_some_and(|end| end <= now) {
            let removed = self.submit(|answer| Request::Expire { now, answer });
            if removed.is_none_or(|removed| removed < ENDED_PER_SLICE) {
                break;
            }
        }
        self.upkeep();
        self.state().first_end()
    }

    fn upkeep(&self) {
        let mut synced = None;
        loop {
            let request = |answer| Request::Upkeep { synced, answer };
            match self.submit(request) {
                Some(Upkeep::Again) => synced = None,
                // Storage may take long, and registrations go on.
                Some(Upkeep::Sync(file)) => synced = Some(file.sync_all()),
                Some(Upkeep::Done) | None => return,
            }
        }
    }

    /// Returns the number of requests that wait to be handled.
    #[cfg(test)]
    pub(super) fn waiting(&self) -> usize {
        self.batches.waiting()
    }

    fn submit<A>(&self, request: impl FnOnce(Answer<A>) -> Request) -> Option<A> {
        self.batches.submit(request, || self.handle_batch())
    }
}

impl Contents for Shared {
    fn len(&self) -> usize {
        self.state().len()
    }

    fn records_after(&self, key: Option<&Key>, limit: usize) -> Vec<Record> {
        self.state().records_after(key, limit)
    }
}
