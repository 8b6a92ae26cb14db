//! The contents of a registry in memory, with their indexes.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::Bound;

use jiff::Timestamp;

use crate::claims::{Identity, Pssid, TokenId};
use crate::grants::Grant;
use crate::registry::entry::{Change, Key, Record, Registration, Revocation, Selector, UsedToken};

/// Contents of a registry. Every change passes [`apply`](Self::apply), which returns the change that takes it back.
#[derive(Clone, PartialEq, Debug, Default)]
pub(super) struct State {
    registrations: BTreeMap<Identity, Grant>,
    /// Identity of the registration with this token.
    by_token: HashMap<TokenId, Identity>,
    by_pssid: BTreeSet<(Pssid, Identity)>,
    used_tokens: BTreeMap<TokenId, UsedToken>,
    used_by_pssid: BTreeSet<(Pssid, TokenId)>,
    revocations: BTreeMap<Selector, Timestamp>,
    /// All records by their end.
    by_end: BTreeSet<(Timestamp, Key)>,
    /// Number of records of each subscriber that has any.
    pssids: HashMap<Pssid, PssidCounts>,
}

/// Number of records of a subscriber.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct PssidCounts {
    pub(super) registrations: usize,
    pub(super) used_tokens: usize,
}

impl State {
    /// Makes a change, and returns the change that takes it back.
    pub(super) fn apply(&mut self, change: Change) -> Change {
        let key = change.key();
        let previous = match &key {
            Key::Registration(identity) => self.remove_registration(identity),
            Key::UsedToken(token) => self.remove_used_token(token),
            Key::Revocation(selector) => self.remove_revocation(selector),
        };
        if let Change::Put(record) = change {
            self.by_end.insert((record.ends(), key.clone()));
            match record {
                Record::Registration(registration) => self.insert_registration(registration),
                Record::UsedToken(used) => self.insert_used_token(used),
                Record::Revocation(Revocation { selector, until }) => {
                    self.revocations.insert(selector, until);
                }
            }
        }
        previous.map_or(Change::Remove(key), Change::Put)
    }

    fn insert_registration(&mut self, registration: Registration) {
        let Registration {
            identity,
            mut grant,
        } = registration;
        grant.pssid = self.shared(&grant.pssid);
        self.count(&grant.pssid, |counts| counts.registrations += 1);
        self.by_pssid.insert((grant.pssid.clone(), identity));
        self.by_token.insert(grant.token.clone(), identity);
        self.registrations.insert(identity, grant);
    }

    fn remove_registration(&mut self, identity: &Identity) -> Option<Record> {
        let grant = self.registrations.remove(identity)?;
        self.by_end
            .remove(&(grant.expires, Key::Registration(*identity)));
        self.by_pssid.remove(&(grant.pssid.clone(), *identity));
        if self.by_token.get(&grant.token) == Some(identity) {
            self.by_token.remove(&grant.token);
        }
        self.count(&grant.pssid, |counts| counts.registrations -= 1);
        Some(Record::Registration(Registration {
            identity: *identity,
            grant,
        }))
    }

    fn insert_used_token(&mut self, mut used: UsedToken) {
        used.pssid = self.shared(&used.pssid);
        self.count(&used.pssid, |counts| counts.used_tokens += 1);
        self.used_by_pssid
            .insert((used.pssid.clone(), used.token.clone()));
        self.used_tokens.insert(used.token.clone(), used);
    }

    fn remove_used_token(&mut self, token: &TokenId) -> Option<Record> {
        let used = self.used_tokens.remove(token)?;
        self.by_end
            .remove(&(used.expires, Key::UsedToken(token.clone())));
        self.used_by_pssid
            .remove(&(used.pssid.clone(), token.clone()));
        self.count(&used.pssid, |counts| counts.used_tokens -= 1);
        Some(Record::UsedToken(used))
    }

    fn remove_revocation(&mut self, selector: &Selector) -> Option<Record> {
        let until = self.revocations.remove(selector)?;
        self.by_end
            .remove(&(until, Key::Revocation(selector.clone())));
        Some(Record::Revocation(Revocation {
            selector: selector.clone(),
            until,
        }))
    }

    /// Returns the text of a known subscriber that other records share, which saves memory.
    fn shared(&self, pssid: &Pssid) -> Pssid {
        let known = self.pssids.get_key_value(pssid);
        known.map_or(pssid, |(known, _)| known).clone()
    }

    fn count(&mut self, pssid: &Pssid, change: impl FnOnce(&mut PssidCounts)) {
        let counts = self.pssids.entry(pssid.clone()).or_default();
        change(counts);
        if *counts == PssidCounts::default() {
            self.pssids.remove(pssid);
        }
    }

    /// Returns the grant of a registration, which may have ended or be revoked.
    pub(super) fn grant(&self, identity: &Identity) -> Option<&Grant> {
        self.registrations.get(identity)
    }

    /// Returns the identity whose registration has this token.
    pub(super) fn identity_with(&self, token: &TokenId) -> Option<Identity> {
        self.by_token.get(token).copied()
    }

    pub(super) fn used_token(&self, token: &TokenId) -> Option<&UsedToken> {
        self.used_tokens.get(token)
    }

    /// Returns true if something is revoked.
    pub(super) fn is_revoked(&self, selector: &Selector, now: Timestamp) -> bool {
        self.revoked_until(selector)
            .is_some_and(|until| until > now)
    }

    /// Returns the end of a revocation.
    pub(super) fn revoked_until(&self, selector: &Selector) -> Option<Timestamp> {
        self.revocations.get(selector).copied()
    }

    pub(super) fn registrations_len(&self) -> usize {
        self.registrations.len()
    }

    pub(super) fn used_tokens_len(&self) -> usize {
        self.used_tokens.len()
    }

    pub(super) fn revocations_len(&self) -> usize {
        self.revocations.len()
    }

    /// Returns the number of records of a subscriber, ended ones included.
    pub(super) fn counts_of(&self, pssid: &Pssid) -> PssidCounts {
        self.pssids.get(pssid).copied().unwrap_or_default()
    }

    /// Returns the registrations after an identity, or from the beginning, ordered by identity.
    pub(super) fn registrations_after(
        &self,
        after: Option<&Identity>,
    ) -> impl Iterator<Item = (&Identity, &Grant)> {
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        self.registrations
            .range::<Identity, _>((from, Bound::Unbounded))
    }

    /// Returns the registrations of a subscriber after an identity, or from the beginning, ordered by identity.
    pub(super) fn registrations_of(
        &self,
        pssid: &Pssid,
        after: Option<&Identity>,
    ) -> impl Iterator<Item = (&Identity, &Grant)> {
        let first = (pssid.clone(), after.copied().unwrap_or([0; 32]));
        let from = match after {
            Some(_) => Bound::Excluded(first),
            None => Bound::Included(first),
        };
        let last = Bound::Included((pssid.clone(), [0xff; 32]));
        let of_pssid = self.by_pssid.range((from, last));
        of_pssid.filter_map(|(_, identity)| self.registrations.get_key_value(identity))
    }

    /// Returns the used tokens of a subscriber.
    pub(super) fn used_tokens_of(&self, pssid: &Pssid) -> impl Iterator<Item = &UsedToken> {
        let first = (pssid.clone(), TokenId("".into()));
        self.used_by_pssid
            .range(first..)
            .take_while(move |(owner, _)| owner == pssid)
            .filter_map(|(_, token)| self.used_tokens.get(token))
    }

    /// Returns the revocations after a selector, or from the beginning, ordered by selector.
    pub(super) fn revocations_after(
        &self,
        after: Option<&Selector>,
    ) -> impl Iterator<Item = Revocation> {
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let revocations = self
            .revocations
            .range::<Selector, _>((from, Bound::Unbounded));
        revocations.map(|(selector, until)| Revocation {
            selector: selector.clone(),
            until: *until,
        })
    }

    /// Returns the first record that ends.
    pub(super) fn first_end(&self) -> Option<Timestamp> {
        self.by_end.first().map(|(end, _)| *end)
    }

    /// Returns at most `limit` records that have ended, the first ones first.
    pub(super) fn ended(&self, now: Timestamp, limit: usize) -> Vec<Key> {
        let ended = self.by_end.iter().take_while(|(end, _)| *end <= now);
        ended.map(|(_, key)| key.clone()).take(limit).collect()
    }

    /// Returns the number of records.
    pub(super) fn len(&self) -> usize {
        self.by_end.len()
    }

    /// Returns the first `limit` records after a key, or from the beginning, ordered by key.
    pub(super) fn records_after(&self, after: Option<&Key>, limit: usize) -> Vec<Record> {
        let mut records = Vec::with_capacity(limit);
        if matches!(after, None | Some(Key::Registration(_))) {
            let after = match after {
                Some(Key::Registration(identity)) => Some(identity),
                _ => None,
            };
            let registrations = self.registrations_after(after).take(limit);
            records.extend(registrations.map(|(identity, grant)| {
                Record::Registration(Registration {
                    identity: *identity,
                    grant: grant.clone(),
                })
            }));
        }
        if !matches!(after, Some(Key::Revocation(_))) {
            let from = match after {
                Some(Key::UsedToken(token)) => Bound::Excluded(token),
                _ => Bound::Unbounded,
            };
            let used = self
                .used_tokens
                .range::<TokenId, _>((from, Bound::Unbounded))
                .take(limit - records.len());
            records.extend(used.map(|(_, used)| Record::UsedToken(used.clone())));
        }
        let after = match after {
            Some(Key::Revocation(selector)) => Some(selector),
            _ => None,
        };
        let revocations = self.revocations_after(after).take(limit - records.len());
        records.extend(revocations.map(Record::Revocation));
        records
    }
}

#[cfg(test)]
mod tests;
