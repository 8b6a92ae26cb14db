//! Tests under a fixed time, with a data plane that only keeps the grants.

mod attacker;
mod commits;
mod expiry;
mod files;
mod listing;
mod model;
mod registering;
mod revoking;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Mutex, MutexGuard};

use super::*;
use crate::grants::GrantChange;

/// Returns a time in seconds after the start of the test.
fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + seconds).unwrap()
}

fn pssid(name: &str) -> Pssid {
    Pssid(name.into())
}

fn token(name: &str) -> TokenId {
    TokenId(name.into())
}

fn claims(pssid_name: &str, token_name: &str, expires: i64) -> Claims {
    Claims {
        pssid: pssid(pssid_name),
        token: token(token_name),
        expires: at(expires),
    }
}

/// Returns an identity with this number. Numbers are ordered as their identities.
fn key(number: u32) -> Identity {
    let mut identity = [0x55; 32];
    identity[..4].copy_from_slice(&number.to_be_bytes());
    identity
}

/// A data plane.
#[derive(Default)]
struct FakeGrants(Mutex<InForce>);

#[derive(Default)]
struct InForce {
    grants: BTreeMap<Identity, Grant>,
    /// All calls.
    calls: Vec<Vec<GrantChange>>,
}

impl Grants for FakeGrants {
    fn apply(&self, changes: &[GrantChange]) {
        let mut in_force = self.lock();
        in_force.calls.push(changes.to_vec());
        for GrantChange { identity, grant } in changes {
            match grant {
                Some(grant) => in_force.grants.insert(*identity, grant.clone()),
                None => in_force.grants.remove(identity),
            };
        }
    }
}

impl FakeGrants {
    fn lock(&self) -> MutexGuard<'_, InForce> {
        self.0.lock().unwrap()
    }

    /// Returns the grant of an identity, if it is in force at a time.
    fn get(&self, identity: Identity, now: i64) -> Option<Grant> {
        let grant = self.lock().grants.get(&identity).cloned();
        grant.filter(|grant| grant.expires > at(now))
    }

    fn has(&self, identity: Identity, now: i64) -> bool {
        self.get(identity, now).is_some()
    }

    /// Returns the calls since the last time.
    fn take_calls(&self) -> Vec<Vec<GrantChange>> {
        std::mem::take(&mut self.lock().calls)
    }
}

/// A registry and its data plane.
struct Setup {
    registry: Registry,
    grants: Arc<FakeGrants>,
}

impl Setup {
    fn in_memory() -> Self {
        Self::open(RegistrySettings::default(), 0)
    }

    /// Opens a registry with a file.
    fn with_file(path: &Path, now: i64) -> Self {
        Self::open(settings(path), now)
    }

    fn open(settings: RegistrySettings, now: i64) -> Self {
        Self::try_open(settings, now).unwrap()
    }

    fn try_open(settings: RegistrySettings, now: i64) -> Result<Self, OpenError> {
        let grants = Arc::new(FakeGrants::default());
        let registry = Registry::open(settings, Arc::clone(&grants) as Arc<dyn Grants>, at(now))?;
        Ok(Self { registry, grants })
    }

    fn with_store(store: Box<dyn Store>) -> Self {
        let grants = Arc::new(FakeGrants::default());
        let registry = Registry::with_store(
            Limits {
                registrations: 1000,
                per_pssid: 16,
            },
            Arc::clone(&grants) as Arc<dyn Grants>,
            store,
            State::default(),
            at(0),
        );
        Self { registry, grants }
    }

    fn register(
        &self,
        (pssid, token, expires): (&str, &str, i64),
        identity: Identity,
        now: i64,
    ) -> Result<Registered, Refusal> {
        let claims = claims(pssid, token, expires);
        self.registry.register(&claims, identity, at(now))
    }

    fn revoke(&self, selector: &Selector, until: i64, now: i64) -> Result<Revoked, RevokeError> {
        self.registry.revoke(selector, Some(at(until)), at(now))
    }

    fn list(&self) -> Vec<Registration> {
        let mut all = Vec::new();
        let mut after = None;
        loop {
            let page = self.registry.list(after, 7, &Filter::default());
            all.extend(page.registrations);
            after = page.next;
            if after.is_none() {
                return all;
            }
        }
    }
}

fn settings(path: &Path) -> RegistrySettings {
    RegistrySettings {
        file: Some(path.to_owned()),
        ..RegistrySettings::default()
    }
}

/// The result of a registration until a time.
fn accepted(effect: Effect, expires: i64) -> Result<Registered, Refusal> {
    Ok(Registered {
        expires: at(expires),
        effect,
    })
}
