//! How a batch of requests is decided, stored, put into force and answered.

use std::collections::BTreeSet;
use std::io;
use std::sync::atomic::Ordering;

use jiff::Timestamp;

use super::{ENDED_PER_SLICE, Request, Shared, Writer};
use crate::claims::{Claims, Identity};
use crate::grants::GrantChange;
use crate::registry::batches::Answer;
use crate::registry::entry::{Change, Key, Selector};
use crate::registry::error::{RevokeError, StoreError};
use crate::registry::outcome::{Refusal, Registered, Revoked};
use crate::registry::rules;
use crate::registry::state::State;
use crate::registry::store::{Durability, Upkeep};

/// A request that takes effect with the commit of its batch.
enum Decision<'a> {
    Registered {
        claims: &'a Claims,
        identity: &'a Identity,
        now: Timestamp,
        registered: Registered,
        answer: &'a Answer<Result<Registered, Refusal>>,
    },
    Revoked {
        selector: &'a Selector,
        until: Option<Timestamp>,
        now: Timestamp,
        revoked: Revoked,
        answer: &'a Answer<Result<Revoked, RevokeError>>,
    },
    Unrevoked {
        existed: bool,
        answer: &'a Answer<Result<bool, StoreError>>,
    },
    Expired {
        removed: usize,
        answer: &'a Answer<usize>,
    },
}

/// The changes of a batch.
#[derive(Default)]
struct Changes {
    /// Changes to be stored.
    made: Vec<Change>,
    /// Changes that take them back, in the same order.
    inverse: Vec<Change>,
    /// Identities whose registrations were changed.
    identities: BTreeSet<Identity>,
    /// Identities whose registrations had ended and were removed.
    ended: BTreeSet<Identity>,
    /// There is a change that must survive a power failure.
    is_urgent: bool,
}

impl Changes {
    fn make(&mut self, state: &mut State, changes: Vec<Change>) {
        for change in changes {
            if let Key::Registration(identity) = change.key() {
                self.identities.insert(identity);
            }
            self.made.push(change.clone());
            self.inverse.push(state.apply(change));
        }
    }

    fn take_back(&mut self, state: &mut State) {
        for change in self.inverse.drain(..).rev() {
            let _taken_back = state.apply(change);
        }
    }
}

impl Request {
    fn now(&self) -> Option<Timestamp> {
        match self {
            Self::Register { now, .. }
            | Self::Revoke { now, .. }
            | Self::Unrevoke { now, .. }
            | Self::Expire { now, .. } => Some(*now),
            Self::Upkeep { .. } => None,
        }
    }
}

impl Shared {
    /// Handles the requests that wait.
    pub(super) fn handle_batch(&self) {
        let mut writer = self.lock_writer();
        let batch = self.batches.take();
        let now = batch.iter().filter_map(Request::now).max();
        let now = now.unwrap_or(Timestamp::UNIX_EPOCH);

        let mut changes = Changes::default();
        let mut state = self.state_mut();
        let decide = |request| self.decide(&mut state, request, &mut changes);
        let decisions: Vec<_> = batch.iter().filter_map(decide).collect();
        drop(state);

        match self.store(&mut writer, &changes) {
            Ok(()) => {
                let identities = changes.identities.union(&changes.ended);
                self.answer(decisions, identities, now);
            }
            Err(error) => self.give_up(&mut writer, decisions, changes, now, &error),
        }
        for request in &batch {
            if let Request::Upkeep { synced, answer } = request {
                answer.give(self.do_upkeep(&mut writer, synced.as_ref()));
            }
        }
    }

    /// Decides a request and changes the contents. Refusals are answered at once.
    fn decide<'a>(
        &self,
        state: &mut State,
        request: &'a Request,
        changes: &mut Changes,
    ) -> Option<Decision<'a>> {
        match request {
            Request::Register {
                claims,
                identity,
                now,
                answer,
            } => {
                self.make_room(state, *now, changes);
                match rules::register(state, &self.limits, claims, identity, *now) {
                    Ok(acceptance) => {
                        changes.make(state, acceptance.changes);
                        Some(Decision::Registered {
                            claims,
                            identity,
                            now: *now,
                            registered: acceptance.registered,
                            answer,
                        })
                    }
                    Err(refusal) => {
                        answer.give(Err(refusal));
                        None
                    }
                }
            }
            Request::Revoke {
                selector,
                until,
                now,
                answer,
            } => match revoke(state, selector, *until, *now, changes) {
                Ok(revoked) => Some(Decision::Revoked {
                    selector,
                    until: *until,
                    now: *now,
                    revoked,
                    answer,
                }),
                Err(error) => {
                    answer.give(Err(error));
                    None
                }
            },
            Request::Unrevoke {
                selector,
                now,
                answer,
            } => {
                let existed = state.is_revoked(selector, *now);
                if existed {
                    let removal = Change::Remove(Key::Revocation(selector.clone()));
                    changes.make(state, vec![removal]);
                    changes.is_urgent = true;
                }
                Some(Decision::Unrevoked { existed, answer })
            }
            Request::Expire { now, answer } => Some(Decision::Expired {
                removed: self.remove_ended(state, *now, changes),
                answer,
            }),
            Request::Upkeep { .. } => None,
        }
    }

    /// Removes ended records if they may stand in the way of a registration.
    fn make_room(&self, state: &mut State, now: Timestamp, changes: &mut Changes) {
        while rules::is_full(state, &self.limits) && self.remove_ended(state, now, changes) > 0 {}
    }

    /// Removes a slice of the records that have ended, and returns their number. This is not stored, because ended
    /// records are ignored when the registry is opened.
    fn remove_ended(&self, state: &mut State, now: Timestamp, changes: &mut Changes) -> usize {
        let ended = state.ended(now, ENDED_PER_SLICE);
        let removed = ended.len();
        let mut registrations = 0;
        for key in ended {
            if let Key::Registration(identity) = &key {
                registrations += 1;
                changes.ended.insert(*identity);
            }
            let _ended = state.apply(Change::Remove(key));
        }
        let counter = &self.counters.expired;
        counter.fetch_add(registrations, Ordering::Relaxed);
        removed
    }

    fn store(&self, writer: &mut Writer, changes: &Changes) -> Result<(), StoreError> {
        if changes.made.is_empty() {
            return Ok(());
        }
        let durability = if changes.is_urgent {
            Durability::Machine
        } else {
            Durability::Process
        };
        let stored = writer.commit(&changes.made, durability);
        self.count_commit(&stored);
        stored
    }

    fn count_commit(&self, stored: &Result<(), StoreError>) {
        self.counters.commits.fetch_add(1, Ordering::Relaxed);
        if stored.is_err() {
            let failed = &self.counters.failed_commits;
            failed.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn count_revoked(&self, ended: usize) {
        let counter = &self.counters.revoked;
        counter.fetch_add(ended as u64, Ordering::Relaxed);
    }

    /// Puts a stored batch into force and answers it.
    fn answer<'a>(
        &self,
        decisions: Vec<Decision<'_>>,
        identities: impl Iterator<Item = &'a Identity>,
        now: Timestamp,
    ) {
        let order = self.lock_in_force();
        let state = self.state();
        let grants = grants_of(&state, identities, now);
        // A revocation may have been put into force since the decision.
        let refusal = |decision: &Decision<'_>| match decision {
            Decision::Registered {
                claims,
                identity,
                now,
                ..
            } => rules::check_revocations(&state, claims, identity, *now).err(),
            _ => None,
        };
        let refusals: Vec<_> = decisions.iter().map(refusal).collect();
        drop(state);
        if !grants.is_empty() {
            self.grants.apply(&grants);
        }
        drop(order);

        for (decision, refusal) in decisions.into_iter().zip(refusals) {
            match decision {
                Decision::Registered {
                    registered, answer, ..
                } => answer.give(refusal.map_or(Ok(registered), Err)),
                Decision::Revoked {
                    revoked, answer, ..
                } => {
                    self.count_revoked(revoked.ended);
                    answer.give(Ok(revoked));
                }
                Decision::Unrevoked { existed, answer } => answer.give(Ok(existed)),
                Decision::Expired { removed, answer } => answer.give(removed),
            }
        }
    }

    /// Takes back a batch that could not be stored, except its revocations, and answers it.
    fn give_up(
        &self,
        writer: &mut Writer,
        decisions: Vec<Decision<'_>>,
        mut changes: Changes,
        now: Timestamp,
        error: &StoreError,
    ) {
        let mut unsaved = Changes::default();
        let mut state = self.state_mut();
        changes.take_back(&mut state);
        for decision in decisions {
            match decision {
                Decision::Registered {
                    claims,
                    identity,
                    now,
                    answer,
                    ..
                } => {
                    let again = rules::register(&state, &self.limits, claims, identity, now);
                    answer.give(match again {
                        Ok(acceptance) if acceptance.changes.is_empty() => {
                            Ok(acceptance.registered)
                        }
                        Ok(_) => Err(Refusal::NotStored),
                        Err(refusal) => Err(refusal),
                    });
                }
                Decision::Revoked {
                    selector,
                    until,
                    now,
                    answer,
                    ..
                } => {
                    let revoked = revoke(&mut state, selector, until, now, &mut unsaved);
                    if let Ok(revoked) = &revoked {
                        self.count_revoked(revoked.ended);
                    }
                    answer.give(revoked.and(Err(error.clone().into())));
                }
                Decision::Unrevoked {
                    existed: false,
                    answer,
                } => answer.give(Ok(false)),
                Decision::Unrevoked { answer, .. } => answer.give(Err(error.clone())),
                Decision::Expired { removed, answer } => answer.give(removed),
            }
        }
        drop(state);
        for change in unsaved.made {
            writer.unsaved.insert(change.key(), change);
        }

        let identities = unsaved.identities.union(&changes.ended);
        let _order = self.lock_in_force();
        let grants = grants_of(&self.state(), identities, now);
        if !grants.is_empty() {
            self.grants.apply(&grants);
        }
    }

    fn do_upkeep(&self, writer: &mut Writer, synced: Option<&io::Result<()>>) -> Upkeep {
        if !writer.unsaved.is_empty() {
            self.count_commit(&writer.commit(&[], Durability::Machine));
        }
        writer.store.upkeep(self, synced)
    }
}

fn revoke(
    state: &mut State,
    selector: &Selector,
    until: Option<Timestamp>,
    now: Timestamp,
    changes: &mut Changes,
) -> Result<Revoked, RevokeError> {
    let plan = rules::revoke(state, selector, until, now)?;
    let made = plan.changes(state);
    changes.make(state, made);
    changes.is_urgent = true;
    Ok(Revoked {
        ended: plan.ended.len(),
        until: plan.revocation.until,
    })
}

/// Returns the grants of identities as the contents have them.
fn grants_of<'a>(
    state: &State,
    identities: impl Iterator<Item = &'a Identity>,
    now: Timestamp,
) -> Vec<GrantChange> {
    let grant = |identity: &Identity| GrantChange {
        identity: *identity,
        grant: rules::grant_in_force(state, identity, now),
    };
    identities.map(grant).collect()
}
