//! Registrations of clients: which identity may have tunnels, by which token, until when.
//!
//! # Rules
//!
//! - A registration lasts until its token's `exp`. It is refused from then on, without leeway.
//! - A token registers one identity. It is remembered for that until its `exp`, also after a renewal has replaced it and
//!   after its registration was revoked.
//! - An identity has one current token: the one with the latest `exp` of those that registered it. A renewal replaces
//!   the token and moves the end; tunnels stay. A token that ends earlier, for example because it arrives late, is
//!   accepted and changes nothing.
//! - While an identity is registered, only tokens of the same `pssid` can renew it. When the registration has ended,
//!   any valid token can register the identity.
//! - Public keys of low order are refused.
//! - The number of registrations is limited per `pssid` and in total, and so is the number of replaced tokens that are
//!   remembered: 16 per `pssid` for each registration that it may have, and at least 64; 4 in total for each
//!   registration that the registry may have. Ended ones do not count.
//! - A revocation names a token, a `pssid` or an identity. It ends registrations, and refuses new ones until its end.
//!   It lasts until the given time, at most 366 days, and at least until the `exp` of all tokens that it is known to
//!   concern. Without a given time, that of a known token lasts until its `exp`, and any other one 30 days. There can be
//!   100,000 revocations. Limits of registrations do not apply to them.
//!
//! # Disclosure by refusals
//!
//! A client with a valid token that tries the public key of another client learns from [`Refusal::IdentityTaken`] that
//! this key is registered now, with a token of another `pssid`; not which, nor until when. This cannot be hidden: the
//! other answer would be success. [`Refusal::TokenUsed`] tells the holder of a token that it has been used. Limits tell
//! whether the registry is full.
//!
//! # Durability
//!
//! A registration is answered when it is in the file, in the page cache of the kernel: it survives `kill -9`. A power
//! failure loses the registrations since the last sync of the file, which [`Registry::expire`] begins: call it once a
//! second. Their clients are refused until they register again, which they do when they renew their tokens.
//! Revocations and their removals are synced before they are answered.
//!
//! If the file cannot be written (disk full, read-only), registrations are refused with [`Refusal::NotStored`], and
//! existing ones stay in force. Revocations are in force in the data plane before they are stored, so neither a full
//! nor a hanging disk delays them; one that cannot be stored is an error, and is tried again by [`Registry::expire`].
//!
//! # Clock
//!
//! All times are system time, and are arguments. When the system clock is set back, registrations last longer by that
//! step, as they do in the data plane; those that were removed stay removed. When it is set forward, everything that
//! has ended by then is removed: if the step was a mistake, clients are refused until they renew their tokens, and
//! revocations that ended are forgotten. Nothing is removed from the file before it is rewritten, so a restart after
//! the clock was corrected may bring records back.
//!
//! # Threads and locks
//!
//! Calls that change something may wait for the disk; call them from threads that may block. Many at once are handled
//! in one batch by one of their threads, with one write and one [`Grants::apply`], which must not call the registry.
//! Calls that only read never wait for the disk. Locks are taken in this order:
//!
//! | lock | guards | held during |
//! | --- | --- | --- |
//! | queue of batches | requests that wait | a push or a pop |
//! | writer | the store; only the thread that handles a batch takes it | a batch, writing included |
//! | in force | the order of calls of [`Grants::apply`] | such a call |
//! | contents | registrations, used tokens, revocations, and their indexes | the decisions of a batch (256 requests), a page of a listing, a slice of ended records |
//! | history | the latest changes | a copy of up to 256 changes |

mod batches;
mod entry;
mod error;
mod file_store;
mod history;
mod low_order;
mod memory_store;
mod metrics;
mod outcome;
mod rules;
mod shared;
mod state;
mod store;

pub use entry::{Change, Key, Record, Registration, Revocation, Selector, UsedToken};
pub use error::{OpenError, RevokeError, StoreError};
pub use history::{Revision, Unavailable, Watch};
pub use metrics::RegistryMetrics;
pub use outcome::{Counts, Effect, Refusal, Registered, Revoked};

use std::path::PathBuf;
use std::sync::Arc;

use jiff::Timestamp;

use crate::claims::{Claims, Identity, Pssid, TokenId};
use crate::grants::{Grant, Grants};

use file_store::FileStore;
use memory_store::MemoryStore;
use rules::Limits;
use shared::{Shared, Storing};
use state::State;
use store::Store;

/// Maximum number of items in a page of a listing. Bounds the time for which the contents are locked.
pub const PAGE_MAX: usize = 1000;

/// Settings of a registry.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RegistrySettings {
    /// File for the contents; `None` keeps them in memory only. While it is written anew, there is another file beside
    /// it, with `.new` appended to the name.
    pub file: Option<PathBuf>,
    /// Maximum number of registrations. If a file has more, all are loaded and no new ones are accepted.
    pub max_registrations: usize,
    /// Maximum number of registrations of a `pssid`.
    pub max_per_pssid: usize,
}

impl Default for RegistrySettings {
    fn default() -> Self {
        Self {
            file: None,
            max_registrations: 100_000,
            max_per_pssid: 16,
        }
    }
}

/// The registrations. Clones share them.
#[derive(Clone)]
pub struct Registry(Arc<Shared>);

/// Restricts a listing.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Filter {
    /// Registrations of this subscriber.
    pub pssid: Option<Pssid>,
    /// The registration whose current token this is.
    pub token: Option<TokenId>,
}

/// A part of a listing.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Page {
    /// Registrations, ordered by identity.
    pub registrations: Vec<Registration>,
    /// Argument for the next page, if there is one.
    pub next: Option<Identity>,
}

/// Numbers of records, ended ones that are not yet removed included.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Sizes {
    /// Registrations.
    pub registrations: usize,
    /// Tokens that are remembered because they must not register another identity.
    pub used_tokens: usize,
    /// Revocations.
    pub revocations: usize,
}

impl Registry {
    /// Opens a registry. Loads its file, without what has ended, and gives all grants to the data plane in one call.
    ///
    /// # Errors
    ///
    /// If the file cannot be read or written, is used by another process, or is damaged.
    pub fn open(
        settings: RegistrySettings,
        grants: Arc<dyn Grants>,
        now: Timestamp,
    ) -> Result<Self, OpenError> {
        let RegistrySettings {
            file,
            max_registrations,
            max_per_pssid,
        } = settings;
        let limits = Limits {
            registrations: max_registrations,
            per_pssid: max_per_pssid,
        };
        let mut state = State::default();
        let Some(file) = file else {
            let store = Box::new(MemoryStore::new());
            return Ok(Self::with_store(limits, grants, store, state, now));
        };
        let apply = |change| {
            let _inverse = state.apply(change);
        };
        let store = Box::new(FileStore::open(&file, apply)?);
        let registry = Self::with_store(limits, grants, store, state, now);
        let sizes = registry.sizes();
        tracing::info!(
            file = %file.display(),
            registrations = sizes.registrations,
            revocations = sizes.revocations,
            "registrations loaded"
        );
        Ok(registry)
    }

    /// Opens a registry with a store and its contents.
    fn with_store(
        limits: Limits,
        grants: Arc<dyn Grants>,
        store: Box<dyn Store>,
        mut state: State,
        now: Timestamp,
    ) -> Self {
        for key in state.ended(now, usize::MAX) {
            let _ended = state.apply(Change::Remove(key));
        }
        for change in rules::end_revoked(&state, now) {
            let _inverse = state.apply(change);
        }
        let shared = Shared::new(limits, grants, store, state);
        shared.begin();
        Self(Arc::new(shared))
    }

    /// Registers an identity by a valid token. Returns when the registration is stored and in force.
    ///
    /// # Errors
    ///
    /// The reason why it was refused. Nothing has changed then.
    pub fn register(
        &self,
        claims: &Claims,
        identity: Identity,
        now: Timestamp,
    ) -> Result<Registered, Refusal> {
        self.0.register(claims, identity, now)
    }

    /// Accepts only renewals from now on: registrations of identities that are not registered are refused with
    /// [`Refusal::ShuttingDown`]. It cannot be undone.
    pub fn refuse_new_identities(&self) {
        self.0.refuse_new_identities();
    }

    /// Checks that neither a token nor its subscriber is revoked. Does not wait for storage.
    ///
    /// # Errors
    ///
    /// [`Refusal::TokenRevoked`] or [`Refusal::PssidRevoked`].
    pub fn check_revocations(&self, claims: &Claims, now: Timestamp) -> Result<(), Refusal> {
        rules::check_token(&self.0.state(), claims, now)
    }

    /// Revokes a token, a subscriber or an identity until a time. Without a time, a known token is revoked until its
    /// end, and anything else for 30 days. Returns when the revocation is in force and stored.
    ///
    /// # Errors
    ///
    /// With [`RevokeError::NotStored`] it is in force, otherwise nothing has changed.
    pub fn revoke(
        &self,
        selector: &Selector,
        until: Option<Timestamp>,
        now: Timestamp,
    ) -> Result<Revoked, RevokeError> {
        self.begin_revoke(selector, until, now)?.wait()
    }

    /// Puts a revocation into force as [`revoke`](Self::revoke) does, and returns without waiting for storage, however
    /// long it hangs.
    ///
    /// # Errors
    ///
    /// Those of [`revoke`](Self::revoke), except [`RevokeError::NotStored`]. Nothing has changed then.
    pub fn begin_revoke(
        &self,
        selector: &Selector,
        until: Option<Timestamp>,
        now: Timestamp,
    ) -> Result<RevocationInForce, RevokeError> {
        let (revoked, storing) = self.0.begin_revoke(selector, until, now)?;
        Ok(RevocationInForce {
            registry: self.clone(),
            revoked,
            storing,
        })
    }

    /// Removes a revocation. Clients have to register again. Returns false if there was none.
    ///
    /// # Errors
    ///
    /// If this cannot be stored. The revocation stays in force then.
    pub fn unrevoke(&self, selector: &Selector, now: Timestamp) -> Result<bool, StoreError> {
        self.0.unrevoke(selector, now)
    }

    /// Returns revocations after a selector, or from the beginning, ordered by selector; at most `limit` and
    /// [`PAGE_MAX`]. Those that have ended may be among them for about a second.
    #[must_use]
    pub fn revocations(&self, after: Option<&Selector>, limit: usize) -> Vec<Revocation> {
        let state = self.0.state();
        let revocations = state.revocations_after(after);
        revocations.take(limit.min(PAGE_MAX)).collect()
    }

    /// Returns registrations after an identity, or from the beginning; at most `limit` and [`PAGE_MAX`]. Those that have
    /// ended may be among them for about a second, and those that are about to be stored.
    #[must_use]
    pub fn list(&self, after: Option<Identity>, limit: usize, filter: &Filter) -> Page {
        let limit = limit.clamp(1, PAGE_MAX);
        let after = after.as_ref();
        let state = self.0.state();
        let found = match filter {
            Filter {
                token: Some(token),
                pssid,
            } => {
                let identity = state.identity_with(token);
                let identity =
                    identity.filter(|identity| after.is_none_or(|after| identity > after));
                let found = identity.and_then(|identity| {
                    let grant = state.grant(&identity)?;
                    Some(registration((&identity, grant)))
                });
                let is_of = |found: &Registration| {
                    let wanted = pssid.as_ref();
                    wanted.is_none_or(|pssid| *pssid == found.grant.pssid)
                };
                found.filter(is_of).into_iter().collect()
            }
            Filter {
                token: None,
                pssid: Some(pssid),
            } => first(state.registrations_of(pssid, after), limit),
            Filter {
                token: None,
                pssid: None,
            } => first(state.registrations_after(after), limit),
        };
        drop(state);
        page(found, limit)
    }

    /// Returns the registration of an identity, which may have ended about a second ago.
    #[must_use]
    pub fn get(&self, identity: &Identity) -> Option<Registration> {
        let state = self.0.state();
        let grant = state.grant(identity)?;
        Some(registration((identity, grant)))
    }

    /// Removes what has ended, in slices, syncs the file to disk, and writes it anew if it has too many outdated
    /// records. Returns the next end of a record.
    ///
    /// Call it once a second, independent of the result, from one thread that may block: the system clock can be set,
    /// and the file is synced only here. Until it is called, grants end by themselves in the data plane, and what has
    /// ended does not count against limits.
    pub fn expire(&self, now: Timestamp) -> Option<Timestamp> {
        self.0.expire(now)
    }

    /// Returns the revision of the last stored change. To follow the contents, take the revision, list them, and
    /// [`watch`](Self::watch) from that revision. A registration that was listed while it was being stored, and then
    /// could not be stored, is followed by no change: list again when [`Counts::failed_commits`] has increased.
    #[must_use]
    pub fn revision(&self) -> Revision {
        self.0.history().revision()
    }

    /// Watches the changes that are stored after a revision. Records end by themselves, which is no change.
    ///
    /// # Errors
    ///
    /// If the revision is unknown. The latest 4096 changes are kept, across restarts until the file is rewritten.
    pub fn watch(&self, after: Revision) -> Result<Watch, Unavailable> {
        self.0.history().watch(after)
    }

    /// Returns the numbers of records.
    #[must_use]
    pub fn sizes(&self) -> Sizes {
        let state = self.0.state();
        Sizes {
            registrations: state.registrations_len(),
            used_tokens: state.used_tokens_len(),
            revocations: state.revocations_len(),
        }
    }

    /// Returns the counts since the registry was opened.
    #[must_use]
    pub fn counts(&self) -> Counts {
        self.0.counters().read()
    }
}

/// A revocation that is in force and about to be stored. If it is dropped, the next call that changes the registry stores
/// it, at the latest [`Registry::expire`].
pub struct RevocationInForce {
    registry: Registry,
    revoked: Revoked,
    storing: Storing,
}

impl RevocationInForce {
    /// Returns what was revoked.
    #[must_use]
    pub fn revoked(&self) -> Revoked {
        self.revoked
    }

    /// Waits until it is stored.
    ///
    /// # Errors
    ///
    /// [`RevokeError::NotStored`]. It stays in force.
    pub fn wait(self) -> Result<Revoked, RevokeError> {
        self.registry.0.finish_revoke(self.storing)
    }
}

fn registration((identity, grant): (&Identity, &Grant)) -> Registration {
    Registration {
        identity: *identity,
        grant: grant.clone(),
    }
}

/// Returns one more than `limit`, if there are so many.
fn first<'a>(
    found: impl Iterator<Item = (&'a Identity, &'a Grant)>,
    limit: usize,
) -> Vec<Registration> {
    found.take(limit + 1).map(registration).collect()
}

fn page(mut registrations: Vec<Registration>, limit: usize) -> Page {
    let has_more = registrations.len() > limit;
    registrations.truncate(limit);
    let last = registrations.last().map(|last| last.identity);
    Page {
        next: last.filter(|_| has_more),
        registrations,
    }
}

#[cfg(test)]
mod tests;
