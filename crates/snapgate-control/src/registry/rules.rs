//! Decisions about registrations and revocations. They read the contents and return changes of them.

use jiff::{SignedDuration, Timestamp};

use crate::claims::{Claims, Identity, Pssid, TokenId};
use crate::grants::Grant;
use crate::registry::entry::{Change, Key, Record, Registration, Revocation, Selector, UsedToken};
use crate::registry::error::RevokeError;
use crate::registry::low_order::is_low_order;
use crate::registry::outcome::{Effect, Refusal, Registered};
use crate::registry::state::State;

/// Maximum length of a token's id and of a pssid, in bytes. Bounds the memory of a registration; a UUID has 36.
pub(super) const ID_BYTES_MAX: usize = 255;

/// Maximum number of revocations. They take about 200 bytes each.
const REVOCATIONS_MAX: usize = 100_000;

/// Maximum time that a revocation lasts if no token is known to end later.
const REVOCATION_DAYS_MAX: i64 = 366;

/// Days for which a token or subscriber is revoked if neither an end is given nor the end of the token is known. Tokens
/// usually end earlier.
const REVOCATION_DAYS_DEFAULT: i64 = 30;

/// Maximum number of used tokens of a subscriber, per registration that it may have. Clients that renew ahead of time
/// have one or two.
const USED_TOKENS_PER_REGISTRATION: usize = 16;

/// Minimum of the limit that follows from [`USED_TOKENS_PER_REGISTRATION`].
const USED_TOKENS_PER_PSSID_MIN: usize = 64;

/// Maximum number of used tokens of all subscribers, per registration that the registry may have.
const USED_TOKENS_TOTAL: usize = 4;

/// Limits on the number of records.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Limits {
    /// Registrations of all subscribers.
    pub(super) registrations: usize,
    /// Registrations of a subscriber.
    pub(super) per_pssid: usize,
}

impl Limits {
    pub(super) fn used_tokens(&self) -> usize {
        self.registrations.saturating_mul(USED_TOKENS_TOTAL)
    }

    pub(super) fn used_tokens_per_pssid(&self) -> usize {
        let per_registration = self.per_pssid.saturating_mul(USED_TOKENS_PER_REGISTRATION);
        per_registration.max(USED_TOKENS_PER_PSSID_MIN)
    }
}

/// An accepted registration.
#[derive(PartialEq, Eq, Debug)]
pub(super) struct Acceptance {
    pub(super) registered: Registered,
    /// Changes that put it into effect. Without any, it is in effect already.
    pub(super) changes: Vec<Change>,
}

/// Decides about a registration. Ended records do not count, except against the limits in total: the caller removes them
/// first.
pub(super) fn register(
    state: &State,
    limits: &Limits,
    claims: &Claims,
    identity: &Identity,
    now: Timestamp,
) -> Result<Acceptance, Refusal> {
    if claims.expires <= now {
        return Err(Refusal::Expired);
    }
    if is_low_order(identity) {
        return Err(Refusal::LowOrderIdentity);
    }
    if claims.pssid.0.len() > ID_BYTES_MAX || claims.token.0.len() > ID_BYTES_MAX {
        return Err(Refusal::IdTooLong);
    }
    check_revocations(state, claims, identity, now)?;

    // One identity per token, also if the token was replaced or its registration revoked.
    let current = live_grant(state, identity, now);
    let used = state
        .used_token(&claims.token)
        .filter(|used| used.expires > now);
    let holder = state
        .identity_with(&claims.token)
        .filter(|holder| live_grant(state, holder, now).is_some())
        .or(used.map(|used| used.identity));
    if holder.is_some_and(|holder| holder != *identity) {
        return Err(Refusal::TokenUsed);
    }

    let registered = |expires, effect| Registered { expires, effect };
    let Some(current) = current else {
        check_limits(state, limits, &claims.pssid, now)?;
        return Ok(Acceptance {
            registered: registered(claims.expires, Effect::New),
            changes: put_registration(state, claims, identity),
        });
    };
    if current.pssid != claims.pssid {
        return Err(Refusal::IdentityTaken);
    }
    let unchanged = registered(current.expires, Effect::Unchanged);
    if current.token == claims.token {
        // Only an issuer that uses an id twice changes the end.
        let is_extended = claims.expires > current.expires;
        return Ok(Acceptance {
            registered: if is_extended {
                registered(claims.expires, Effect::Renewed)
            } else {
                unchanged
            },
            changes: if is_extended {
                put_registration(state, claims, identity)
            } else {
                Vec::new()
            },
        });
    }
    if claims.expires < current.expires {
        // A token that ends earlier shortens nothing. It is bound to the identity all the same.
        let mut changes = Vec::new();
        if used.is_none() {
            check_token_limits(state, limits, &claims.pssid, now)?;
            changes.push(put_used_token(
                &claims.token,
                identity,
                &claims_grant(claims),
            ));
        }
        return Ok(Acceptance {
            registered: unchanged,
            changes,
        });
    }
    // A renewal.
    check_token_limits(state, limits, &claims.pssid, now)?;
    let mut changes = vec![put_used_token(&current.token, identity, current)];
    changes.extend(put_registration(state, claims, identity));
    Ok(Acceptance {
        registered: registered(claims.expires, Effect::Renewed),
        changes,
    })
}

/// Returns the grant of an identity that has not ended.
pub(super) fn live_grant<'a>(
    state: &'a State,
    identity: &Identity,
    now: Timestamp,
) -> Option<&'a Grant> {
    state.grant(identity).filter(|grant| grant.expires > now)
}

/// Refuses a registration that is revoked.
pub(super) fn check_revocations(
    state: &State,
    claims: &Claims,
    identity: &Identity,
    now: Timestamp,
) -> Result<(), Refusal> {
    check_token(state, claims, now)?;
    if state.is_revoked(&Selector::Identity(*identity), now) {
        return Err(Refusal::IdentityRevoked);
    }
    Ok(())
}

/// Refuses a token that is revoked, or whose subscriber is.
pub(super) fn check_token(state: &State, claims: &Claims, now: Timestamp) -> Result<(), Refusal> {
    let is_revoked = |selector| state.is_revoked(&selector, now);
    if is_revoked(Selector::Token(claims.token.clone())) {
        return Err(Refusal::TokenRevoked);
    }
    if is_revoked(Selector::Pssid(claims.pssid.clone())) {
        return Err(Refusal::PssidRevoked);
    }
    Ok(())
}

/// Returns the grant of an identity if it is not revoked.
pub(super) fn grant_in_force(state: &State, identity: &Identity, now: Timestamp) -> Option<Grant> {
    let grant = state.grant(identity)?;
    let claims = Claims {
        pssid: grant.pssid.clone(),
        token: grant.token.clone(),
        expires: grant.expires,
    };
    check_revocations(state, &claims, identity, now).ok()?;
    Some(grant.clone())
}

fn check_limits(
    state: &State,
    limits: &Limits,
    pssid: &Pssid,
    now: Timestamp,
) -> Result<(), Refusal> {
    if state.counts_of(pssid).registrations >= limits.per_pssid {
        let all = state.registrations_of(pssid, None);
        let live = all.filter(|(_, grant)| grant.expires > now).count();
        if live >= limits.per_pssid {
            return Err(Refusal::PssidLimit);
        }
    }
    if state.registrations_len() >= limits.registrations {
        return Err(Refusal::TotalLimit);
    }
    Ok(())
}

fn check_token_limits(
    state: &State,
    limits: &Limits,
    pssid: &Pssid,
    now: Timestamp,
) -> Result<(), Refusal> {
    let max = limits.used_tokens_per_pssid();
    if state.counts_of(pssid).used_tokens >= max {
        let all = state.used_tokens_of(pssid);
        let live = all.filter(|used| used.expires > now).count();
        if live >= max {
            return Err(Refusal::PssidTokenLimit);
        }
    }
    if state.used_tokens_len() >= limits.used_tokens() {
        return Err(Refusal::TotalTokenLimit);
    }
    Ok(())
}

/// Returns true if ended records may stand in the way of a registration.
pub(super) fn is_full(state: &State, limits: &Limits) -> bool {
    state.registrations_len() >= limits.registrations
        || state.used_tokens_len() >= limits.used_tokens()
}

fn claims_grant(claims: &Claims) -> Grant {
    Grant {
        expires: claims.expires,
        pssid: claims.pssid.clone(),
        token: claims.token.clone(),
    }
}

/// Makes the token the current one of the identity.
fn put_registration(state: &State, claims: &Claims, identity: &Identity) -> Vec<Change> {
    let mut changes = Vec::with_capacity(2);
    if state.used_token(&claims.token).is_some() {
        changes.push(Change::Remove(Key::UsedToken(claims.token.clone())));
    }
    changes.push(Change::Put(Record::Registration(Registration {
        identity: *identity,
        grant: claims_grant(claims),
    })));
    changes
}

/// Remembers that a token has registered an identity.
fn put_used_token(token: &TokenId, identity: &Identity, grant: &Grant) -> Change {
    Change::Put(Record::UsedToken(UsedToken {
        token: token.clone(),
        identity: *identity,
        pssid: grant.pssid.clone(),
        expires: grant.expires,
    }))
}

/// A revocation and what it ends.
#[derive(PartialEq, Eq, Debug)]
pub(super) struct Plan {
    pub(super) revocation: Revocation,
    /// The identities whose registrations end.
    pub(super) ended: Vec<Identity>,
}

impl Plan {
    /// Returns the changes that put it into effect.
    pub(super) fn changes(&self, state: &State) -> Vec<Change> {
        let revocation = Record::Revocation(self.revocation.clone());
        let mut changes = vec![Change::Put(revocation)];
        for identity in &self.ended {
            if let Some(grant) = state.grant(identity) {
                changes.push(put_used_token(&grant.token, identity, grant));
                changes.push(Change::Remove(Key::Registration(*identity)));
            }
        }
        changes
    }
}

/// Plans a revocation. It lasts until the given time, and at least until the end of all tokens that it is known to
/// concern. Without a given time, that of a known token lasts until its end, and any other one for
/// [`REVOCATION_DAYS_DEFAULT`]. It never shortens an earlier one.
pub(super) fn revoke(
    state: &State,
    selector: &Selector,
    until: Option<Timestamp>,
    now: Timestamp,
) -> Result<Plan, RevokeError> {
    if let Selector::Token(TokenId(id)) | Selector::Pssid(Pssid(id)) = selector
        && id.len() > ID_BYTES_MAX
    {
        return Err(RevokeError::IdTooLong {
            found: id.len(),
            max: ID_BYTES_MAX,
        });
    }
    let ended = live_registrations_with(state, selector, now);
    let grants = ended.iter().filter_map(|identity| state.grant(identity));
    let of_registrations = grants.map(|grant| grant.expires).max();
    let of_used = match selector {
        Selector::Token(token) => state.used_token(token).map(|used| used.expires),
        Selector::Pssid(pssid) => state.used_tokens_of(pssid).map(|used| used.expires).max(),
        // Used tokens of an identity end no later than its registration.
        Selector::Identity(_) => None,
    };
    let known_end = of_registrations.max(of_used).filter(|end| *end > now);

    let until = match (until, selector, known_end) {
        (Some(until), _, _) => {
            check_end(until, now)?;
            until
        }
        (None, Selector::Token(_), Some(known_end)) => known_end,
        (None, _, _) => {
            let time = SignedDuration::from_hours(24 * REVOCATION_DAYS_DEFAULT);
            now.saturating_add(time).unwrap_or(now)
        }
    };
    // An issuer that uses an id twice may extend the token until the given time.
    let until = known_end.map_or(until, |known_end| known_end.max(until));
    let previous = state.revoked_until(selector);
    if previous.is_none() && live_revocations(state, now) >= REVOCATIONS_MAX {
        return Err(RevokeError::Full {
            max: REVOCATIONS_MAX,
        });
    }
    Ok(Plan {
        revocation: Revocation {
            selector: selector.clone(),
            until: previous.map_or(until, |previous| previous.max(until)),
        },
        ended,
    })
}

fn check_end(until: Timestamp, now: Timestamp) -> Result<(), RevokeError> {
    if until <= now {
        return Err(RevokeError::Past);
    }
    if until.duration_since(now) > SignedDuration::from_hours(24 * REVOCATION_DAYS_MAX) {
        return Err(RevokeError::TooLong {
            max_days: REVOCATION_DAYS_MAX,
        });
    }
    Ok(())
}

/// Returns the number of revocations, without those that have ended if that makes a difference.
fn live_revocations(state: &State, now: Timestamp) -> usize {
    let all = state.revocations_len();
    if all < REVOCATIONS_MAX {
        return all;
    }
    let live = state.revocations_after(None);
    live.filter(|revocation| revocation.until > now).count()
}

/// Returns the identities whose registrations a selector concerns.
fn live_registrations_with(state: &State, selector: &Selector, now: Timestamp) -> Vec<Identity> {
    let mut found: Vec<_> = match selector {
        Selector::Token(token) => state.identity_with(token).into_iter().collect(),
        Selector::Pssid(pssid) => {
            let all = state.registrations_of(pssid, None);
            all.map(|(identity, _)| *identity).collect()
        }
        Selector::Identity(identity) => vec![*identity],
    };
    found.retain(|identity| live_grant(state, identity, now).is_some());
    found
}

/// Returns the changes that end all registrations which are revoked. There are some if a process was killed between a
/// revocation and its storing, or if a damaged end of the file was cut off.
pub(super) fn end_revoked(state: &State, now: Timestamp) -> Vec<Change> {
    let live = state.revocations_after(None);
    let live = live.filter(|revocation| revocation.until > now);
    let plans = live.map(|revocation| Plan {
        ended: live_registrations_with(state, &revocation.selector, now),
        revocation,
    });
    plans.flat_map(|plan| plan.changes(state)).collect()
}
