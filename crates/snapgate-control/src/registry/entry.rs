//! Contents of the registry.

use jiff::Timestamp;

use crate::claims::{Identity, Pssid, TokenId};
use crate::grants::Grant;

/// A client that may have tunnels.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Registration {
    /// The client's public key.
    pub identity: Identity,
    /// Its grant. `grant.token` is the token with the latest end of those that registered the identity.
    pub grant: Grant,
}

/// A token that has registered an identity and is no longer the token of a registration. It is remembered until its
/// end, so that it cannot register another identity.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct UsedToken {
    /// The token.
    pub token: TokenId,
    /// The identity that it registered.
    pub identity: Identity,
    /// Its subscriber.
    pub pssid: Pssid,
    /// Its end.
    pub expires: Timestamp,
}

/// Target of a revocation.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Selector {
    /// One token.
    Token(TokenId),
    /// All tokens of a subscriber.
    Pssid(Pssid),
    /// A public key, with any token.
    Identity(Identity),
}

/// A revocation in force.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Revocation {
    /// Its target.
    pub selector: Selector,
    /// Its end.
    pub until: Timestamp,
}

/// A stored item.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Record {
    /// A registration.
    Registration(Registration),
    /// A token that must not register another identity.
    UsedToken(UsedToken),
    /// A revocation.
    Revocation(Revocation),
}

/// Key of a [`Record`]; there is at most one record of each key.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Key {
    /// Key of a registration.
    Registration(Identity),
    /// Key of a used token.
    UsedToken(TokenId),
    /// Key of a revocation.
    Revocation(Selector),
}

/// A change of the contents.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Change {
    /// Adds a record, or replaces the one with its key.
    Put(Record),
    /// Removes the record with this key, if there is one.
    Remove(Key),
}

impl Record {
    /// Returns the key.
    #[must_use]
    pub fn key(&self) -> Key {
        match self {
            Self::Registration(registration) => Key::Registration(registration.identity),
            Self::UsedToken(used) => Key::UsedToken(used.token.clone()),
            Self::Revocation(revocation) => Key::Revocation(revocation.selector.clone()),
        }
    }

    /// Returns the time at which the record ends by itself.
    #[must_use]
    pub fn ends(&self) -> Timestamp {
        match self {
            Self::Registration(registration) => registration.grant.expires,
            Self::UsedToken(used) => used.expires,
            Self::Revocation(revocation) => revocation.until,
        }
    }
}

impl Change {
    /// Returns the key of the record that changes.
    #[must_use]
    pub fn key(&self) -> Key {
        match self {
            Self::Put(record) => record.key(),
            Self::Remove(key) => key.clone(),
        }
    }
}
