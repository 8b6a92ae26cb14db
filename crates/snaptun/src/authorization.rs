//! Who may have a tunnel, and until when.

use std::fmt;
use std::time::Instant;

/// The authorization layer behind a shard.
///
/// It is asked when a tunnel is created and when a cached [`Grant`] ends, not per packet. Many shards
/// ask the same one, from many threads.
pub trait SnapTunAuthorization {
    /// What the layer above needs to know about an authorized identity. The shard keeps it in the
    /// tunnel and lends it with every packet.
    type SessionData;

    /// Returns a grant if `identity`, an X25519 public key, may have a tunnel at `now`.
    fn is_authorized(&self, now: Instant, identity: &[u8; 32]) -> Option<Grant<Self::SessionData>>;

    /// A number that changes whenever an earlier answer may no longer hold: an identity was revoked,
    /// its session data changed, or it may have a tunnel again. An identity that is authorized again without a
    /// new number is served when it next sends something.
    ///
    /// Make the change visible to [`is_authorized`](Self::is_authorized) first and the new number
    /// second (a release store, read here with acquire). In the other order a shard could ask in
    /// between, and keep the old answer under the new number.
    fn generation(&self) -> u64;
}

/// The answer to "may this identity have a tunnel?".
#[derive(Clone, PartialEq, Eq)]
pub struct Grant<S> {
    /// When the grant ends; the identity is asked about again then. `None`: not by itself.
    pub expires: Option<Instant>,
    /// What the layer above needs to know.
    pub session_data: S,
}

impl<S> fmt::Debug for Grant<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Grant")
            .field("expires", &self.expires)
            .finish_non_exhaustive()
    }
}

/// A grant as a tunnel keeps it.
pub(crate) struct CachedGrant<S> {
    grant: Grant<S>,
    /// The generation that was current before the question was asked.
    generation: u64,
}

impl<S> CachedGrant<S> {
    /// Asks about `identity`. A grant that has already ended is none.
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

    /// Whether the answer can be used without asking again.
    pub(crate) fn holds(&self, now: Instant, generation: u64) -> bool {
        self.generation == generation && self.grant.expires.is_none_or(|expires| now < expires)
    }

    /// When it ends by itself.
    pub(crate) fn end(&self) -> Option<Instant> {
        self.grant.expires
    }

    pub(crate) fn session_data(&self) -> &S {
        &self.grant.session_data
    }
}
