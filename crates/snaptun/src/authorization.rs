//! Authorization of identities.

use std::fmt;
use std::time::Instant;

/// Authorization layer of a shard.
///
/// Asked when a tunnel is created and when a cached [`Grant`] ends, not per packet. All shards of a gateway share one
/// implementation and call it from their threads.
pub trait SnapTunAuthorization {
    /// Data about an authorized identity for the layer above. The shard keeps it in the tunnel and returns a reference
    /// with every packet.
    type SessionData;

    /// Returns a grant if `identity`, an X25519 public key, may have a tunnel at `now`.
    fn is_authorized(&self, now: Instant, identity: &[u8; 32]) -> Option<Grant<Self::SessionData>>;

    /// Returns a number that changes whenever an earlier answer may no longer hold: an identity was revoked or
    /// authorized again, or its session data changed. An identity that is authorized again without a new number is
    /// served when it next sends something.
    ///
    /// Publish the change to [`is_authorized`](Self::is_authorized) first and the new number second (a release store,
    /// loaded here with acquire). In the other order a shard could ask in between and cache the old answer under the
    /// new number.
    fn generation(&self) -> u64;
}

/// Permission of an identity to have a tunnel.
#[derive(Clone, PartialEq, Eq)]
pub struct Grant<S> {
    /// End of the grant, at which the shard asks again. `None`: valid until
    /// [`generation`](SnapTunAuthorization::generation) changes.
    pub expires: Option<Instant>,
    /// Data for the layer above.
    pub session_data: S,
}

impl<S> fmt::Debug for Grant<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Grant")
            .field("expires", &self.expires)
            .finish_non_exhaustive()
    }
}

/// Grant cached in a tunnel.
pub(crate) struct CachedGrant<S> {
    grant: Grant<S>,
    /// Generation read before the grant was requested.
    generation: u64,
}

impl<S> CachedGrant<S> {
    /// Requests a grant for `identity`. Returns `None` for a grant that has already ended.
    pub(crate) fn ask<A>(
        authorization: &A,
        now: Instant,
        generation: u64,
        identity: &[u8; 32],
    ) -> Option<Self>
    where
        A: SnapTunAuthorization<SessionData = S>,
    {
        let grant = authorization.is_authorized(now, identity)?;
        let cached = CachedGrant { grant, generation };
        cached.holds(now, generation).then_some(cached)
    }

    /// Returns true if the grant can be used without asking again.
    pub(crate) fn holds(&self, now: Instant, generation: u64) -> bool {
        self.generation == generation && self.grant.expires.is_none_or(|expires| now < expires)
    }

    /// Returns the end of the grant, if it has one.
    pub(crate) fn end(&self) -> Option<Instant> {
        self.grant.expires
    }

    pub(crate) fn session_data(&self) -> &S {
        &self.grant.session_data
    }
}
