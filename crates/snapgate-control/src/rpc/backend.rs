//! What the server needs from tokens and registrations.

use jiff::Timestamp;

use crate::claims::{Claims, Identity, Pssid, TokenId};
use crate::grants::Grant;

/// Kind of a refusal. It determines the Connect code of the answer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RefusalKind {
    /// The request is wrong whatever the state of the server.
    InvalidArgument,
    /// The token proves nothing.
    Unauthenticated,
    /// The token is valid and does not permit the request.
    PermissionDenied,
    /// A limit is reached.
    ResourceExhausted,
    /// The server cannot decide now; the same request can succeed later.
    Unavailable,
}

/// Refusal of a token or a registration.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Refusal {
    /// Its kind.
    pub kind: RefusalKind,
    /// Metric label in `snake_case`, from a closed set.
    pub reason: &'static str,
    /// Explanation for the client, without secrets.
    pub message: String,
}

/// Verifier of tokens.
pub trait Tokens: Send + Sync + 'static {
    /// Verifies a token at the time `now`. Does not block.
    ///
    /// # Errors
    ///
    /// The token is not valid, or the keys to verify it are not known.
    fn verify(&self, token: &str, now: Timestamp) -> Result<Claims, Refusal>;
}

/// A registered identity.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Registration {
    /// Static X25519 public key.
    pub identity: Identity,
    /// Its grant.
    pub grant: Grant,
}

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

/// Target of a revocation.
#[derive(Clone, PartialEq, Eq, Debug)]
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

/// An accepted revocation.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Revoked {
    /// Number of registrations that it ended.
    pub ended: usize,
    /// Its end.
    pub until: Timestamp,
}

/// Store of registrations and revocations. Its calls may block, so they run on blocking threads.
pub trait Registrations: Send + Sync + 'static {
    /// Registers an identity, and returns when the registration is in force.
    ///
    /// # Errors
    ///
    /// The registration is not permitted, or cannot be stored.
    fn register(&self, claims: &Claims, identity: Identity, now: Timestamp) -> Result<(), Refusal>;

    /// Returns at most `limit` registrations, beginning after the identity `after`.
    ///
    /// # Errors
    ///
    /// The store cannot be read.
    fn list(&self, after: Option<Identity>, limit: usize, filter: &Filter)
    -> Result<Page, Refusal>;

    /// Revokes until a time, which is not needed for a token that the store knows. Returns when the revocation is in
    /// force.
    ///
    /// # Errors
    ///
    /// The revocation is not possible, or cannot be stored.
    fn revoke(
        &self,
        selector: &Selector,
        until: Timestamp,
        now: Timestamp,
    ) -> Result<Revoked, Refusal>;

    /// Returns at most `limit` revocations, beginning after a selector.
    ///
    /// # Errors
    ///
    /// The store cannot be read.
    fn revocations(
        &self,
        after: Option<&Selector>,
        limit: usize,
    ) -> Result<Vec<Revocation>, Refusal>;

    /// Removes a revocation. Returns false if there is none.
    ///
    /// # Errors
    ///
    /// The change cannot be stored.
    fn unrevoke(&self, selector: &Selector, now: Timestamp) -> Result<bool, Refusal>;
}
