//! Authorization of identities.

use std::fmt;
use std::time::Instant;

/// Authorization layer of a shard.
///
/// A shard calls the methods inside its own methods, on the thread that called it. Shards on several threads share one
/// implementation, which then must be `Send` and `Sync`, with session data that is `Send`.
///
/// The methods must not block, because the shard handles nothing else until they return. Keep the answers in memory,
/// behind an atomic pointer, or behind a lock that is held only for a look-up or an insertion and never during I/O. A
/// panic unwinds through the method of the shard that asked; do not use that shard afterwards.
///
/// # Example
///
/// Grants that can be revoked:
///
/// ```
/// use std::collections::HashMap;
/// use std::sync::atomic::{AtomicU64, Ordering};
/// use std::sync::{PoisonError, RwLock};
/// use std::time::Instant;
///
/// use snaptun::{Grant, SnapTunAuthorization};
///
/// /// The account of each authorized public key.
/// #[derive(Default)]
/// struct Customers {
///     accounts: RwLock<HashMap<[u8; 32], u32>>,
///     generation: AtomicU64,
/// }
///
/// impl Customers {
///     fn revoke(&self, identity: &[u8; 32]) {
///         // The answers first. The lock is released at the end of the statement.
///         self.accounts
///             .write()
///             .unwrap_or_else(PoisonError::into_inner)
///             .remove(identity);
///         // The number second.
///         self.generation.fetch_add(1, Ordering::Release);
///     }
/// }
///
/// impl SnapTunAuthorization for Customers {
///     type SessionData = u32;
///
///     fn is_authorized(&self, _now: Instant, identity: &[u8; 32]) -> Option<Grant<u32>> {
///         let accounts = self
///             .accounts
///             .read()
///             .unwrap_or_else(PoisonError::into_inner);
///         accounts.get(identity).map(|account| Grant {
///             expires: None,
///             session_data: *account,
///         })
///     }
///
///     fn generation(&self) -> u64 {
///         self.generation.load(Ordering::Acquire)
///     }
/// }
/// #
/// # let now = Instant::now();
/// # let customers = Customers::default();
/// # customers.accounts.write().unwrap().insert([1; 32], 17);
/// # assert_eq!(customers.is_authorized(now, &[1; 32]).unwrap().session_data, 17);
/// # customers.revoke(&[1; 32]);
/// # assert!(customers.is_authorized(now, &[1; 32]).is_none());
/// # assert_eq!(customers.generation(), 1);
/// ```
pub trait SnapTunAuthorization {
    /// Data about an authorized identity for the layer above. The shard keeps it in the tunnel and returns a reference
    /// with every packet. When a grant is renewed with different data, the traffic so far is reported with a clone of the
    /// previous data ([`Event::Usage`](crate::Event::Usage)).
    type SessionData: Clone + PartialEq;

    /// Returns a grant if `identity`, an X25519 public key, may have a tunnel at `now`.
    ///
    /// The shard caches a grant in the tunnel until the grant ends or the [`generation`](Self::generation) changes, and
    /// does not ask for the packets in between. It does not cache refusals. It asks:
    ///
    /// - for each admitted initiation that needs a new tunnel. The identity is only claimed then, and proven
    ///   afterwards: anyone who knows the gateway's public key can claim any identity, as often as
    ///   [`ShardConfig`](crate::ShardConfig) admits initiations. So the method must not have side effects such as
    ///   counting logins;
    /// - when the grant of a tunnel has ended: at the next packet, or in
    ///   [`update_timers`](crate::SnapTunServer::update_timers);
    /// - once for each tunnel after the generation has changed: with 100,000 tunnels, 100,000 times within
    ///   [`timer_round`](crate::ShardConfig::timer_round), a slice at a time;
    /// - after [`new_grants`](Self::new_grants) has changed, once for each client that is remembered because its grant
    ///   ended;
    /// - for each [remembered](crate::SnapTunServer::remember) client: when it is remembered, before the shard begins a
    ///   handshake with it, and at each data message from its address, whose source may be spoofed.
    fn is_authorized(&self, now: Instant, identity: &[u8; 32]) -> Option<Grant<Self::SessionData>>;

    /// Returns a number that changes whenever an earlier grant may no longer hold: an identity was revoked, its grant was
    /// shortened, or it has other session data. Shards only compare it for equality, and ask once for every tunnel after
    /// a change. A grant that is extended needs no new number: the shard asks when the grant in the tunnel ends, and
    /// until then goes on with the earlier session data.
    ///
    /// A shard calls it when it is created and in [`start_batch`](crate::SnapTunServer::start_batch).
    ///
    /// Publish the change to [`is_authorized`](Self::is_authorized) first and the new number second (a release store,
    /// loaded here with acquire). In the other order a shard could ask in between and cache the old answer under the
    /// new number.
    fn generation(&self) -> u64;

    /// Returns a number that changes whenever an identity without a grant gets one.
    ///
    /// Shards then ask for the clients that they remember because their grant ended, and begin handshakes with those that
    /// are authorized again; without a new number, such a client is served when it next sends data, up to 10 s later. No
    /// tunnel is asked for. A shard calls it, and the caller publishes the change, as with
    /// [`generation`](Self::generation), whose number it returns by default.
    fn new_grants(&self) -> u64 {
        self.generation()
    }
}

/// Permission of an identity to have a tunnel.
#[derive(Clone, PartialEq, Eq)]
pub struct Grant<S> {
    /// End of the grant, at which the shard asks again. It is on the clock of `now`, which counts suspension of the host:
    /// compute it from `now`, not from `Instant::now`. A grant that has already ended is a refusal. `None`: valid until
    /// [`generation`](SnapTunAuthorization::generation) changes.
    pub expires: Option<Instant>,
    /// Data for the layer above. The next grant replaces it.
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
