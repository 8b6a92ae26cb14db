//! What the server needs from tokens and registrations.

use std::convert::Infallible;
use std::future::pending;
use std::pin::Pin;
use std::sync::Arc;

use jiff::Timestamp;

use crate::claims::{Claims, Identity};
use crate::registry::{
    self, Filter, Page, Registry, Revocation, RevokeError, Revoked, Selector, StoreError,
};
use crate::token::{TokenFault, TokenFaultKind, Verifier};

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

    /// Keeps the keys current. The server runs it as long as it serves.
    fn follow(self: Arc<Self>) -> Follow {
        Box::pin(pending())
    }
}

/// Work of [`Tokens::follow`].
pub type Follow = Pin<Box<dyn Future<Output = Infallible> + Send>>;

/// Store of registrations and revocations. Its calls may block, so they run on blocking threads, except
/// [`check_revocations`](Self::check_revocations).
pub trait Registrations: Send + Sync + 'static {
    /// Checks that neither a token nor its subscriber is revoked. Does not block.
    ///
    /// # Errors
    ///
    /// One of them is revoked.
    fn check_revocations(&self, claims: &Claims, now: Timestamp) -> Result<(), Refusal>;

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

    /// Puts a revocation until a time into force, without waiting for storage. Without a time, a token that the store
    /// knows is revoked until its end, and anything else for 30 days.
    ///
    /// # Errors
    ///
    /// The revocation is not possible.
    fn revoke(
        &self,
        selector: &Selector,
        until: Option<Timestamp>,
        now: Timestamp,
    ) -> Result<RevocationInForce, Refusal>;

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

/// A revocation that is in force and about to be stored, also if this is dropped.
pub struct RevocationInForce {
    /// What it ended, and its end.
    pub revoked: Revoked,
    /// Waits until it is stored. May block.
    pub wait: Box<dyn FnOnce() -> Result<Revoked, Refusal> + Send>,
}

impl Tokens for Verifier {
    fn verify(&self, token: &str, now: Timestamp) -> Result<Claims, Refusal> {
        Self::verify(self, token, now).map_err(Refusal::from)
    }

    fn follow(self: Arc<Self>) -> Follow {
        Box::pin(Arc::clone(self.keys()).refresh())
    }
}

impl From<TokenFault> for Refusal {
    fn from(fault: TokenFault) -> Self {
        let kind = match fault.kind() {
            TokenFaultKind::NoKeys => RefusalKind::Unavailable,
            _ => RefusalKind::Unauthenticated,
        };
        Self {
            kind,
            reason: fault.kind().name(),
            message: fault.to_string(),
        }
    }
}

impl Registrations for Registry {
    fn check_revocations(&self, claims: &Claims, now: Timestamp) -> Result<(), Refusal> {
        Self::check_revocations(self, claims, now).map_err(Refusal::from)
    }

    fn register(&self, claims: &Claims, identity: Identity, now: Timestamp) -> Result<(), Refusal> {
        let registered = Self::register(self, claims, identity, now);
        registered.map(drop).map_err(Refusal::from)
    }

    fn list(
        &self,
        after: Option<Identity>,
        limit: usize,
        filter: &Filter,
    ) -> Result<Page, Refusal> {
        Ok(Self::list(self, after, limit, filter))
    }

    fn revoke(
        &self,
        selector: &Selector,
        until: Option<Timestamp>,
        now: Timestamp,
    ) -> Result<RevocationInForce, Refusal> {
        let revocation = self.begin_revoke(selector, until, now)?;
        Ok(RevocationInForce {
            revoked: revocation.revoked(),
            wait: Box::new(|| revocation.wait().map_err(Refusal::from)),
        })
    }

    fn revocations(
        &self,
        after: Option<&Selector>,
        limit: usize,
    ) -> Result<Vec<Revocation>, Refusal> {
        Ok(Self::revocations(self, after, limit))
    }

    fn unrevoke(&self, selector: &Selector, now: Timestamp) -> Result<bool, Refusal> {
        Self::unrevoke(self, selector, now).map_err(Refusal::from)
    }
}

impl From<registry::Refusal> for Refusal {
    fn from(refusal: registry::Refusal) -> Self {
        use registry::Refusal as R;

        let kind = match refusal {
            R::LowOrderIdentity | R::IdTooLong => RefusalKind::InvalidArgument,
            R::Expired => RefusalKind::Unauthenticated,
            R::TokenRevoked
            | R::PssidRevoked
            | R::IdentityRevoked
            | R::TokenUsed
            | R::IdentityTaken => RefusalKind::PermissionDenied,
            R::PssidLimit | R::PssidTokenLimit | R::TotalLimit | R::TotalTokenLimit => {
                RefusalKind::ResourceExhausted
            }
            R::NotStored | R::ShuttingDown => RefusalKind::Unavailable,
        };
        Self {
            kind,
            reason: refusal.name(),
            message: refusal.to_string(),
        }
    }
}

impl From<RevokeError> for Refusal {
    fn from(error: RevokeError) -> Self {
        let (kind, reason) = match error {
            RevokeError::NotStored(_) => (RefusalKind::Unavailable, "not_stored"),
            RevokeError::Full { .. } => (RefusalKind::ResourceExhausted, "full"),
            RevokeError::Past | RevokeError::TooLong { .. } | RevokeError::IdTooLong { .. } => {
                (RefusalKind::InvalidArgument, "invalid")
            }
        };
        Self {
            kind,
            reason,
            message: error.to_string(),
        }
    }
}

impl From<StoreError> for Refusal {
    fn from(error: StoreError) -> Self {
        Self {
            kind: RefusalKind::Unavailable,
            reason: "not_stored",
            message: error.to_string(),
        }
    }
}
