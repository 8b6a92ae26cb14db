//! The last phase of a shard: nobody gets a tunnel any more, and who has one goes on talking.

use std::time::{Duration, Instant};

use crate::authorization::SnapTunAuthorization;
use crate::server::SnapTunServer;

impl<A: SnapTunAuthorization> SnapTunServer<A> {
    /// Makes no tunnel from now on: a message that would is [`Draining`](crate::DropReason::Draining), and
    /// answered by nothing. Existing tunnels live on, with new sessions when theirs are old.
    pub fn drain(&mut self) {
        self.draining = true;
    }

    /// In how many tunnels data passed less than `idle_after` ago, in either direction. Keepalives and
    /// handshakes are no data: clients send them whether or not they need their tunnel.
    ///
    /// Looks at every tunnel, at a cache miss each: 100,000 take some 10 ms.
    #[must_use]
    pub fn talking_tunnels(&self, now: Instant, idle_after: Duration) -> usize {
        self.tunnels
            .iter()
            .filter(|tunnel| tunnel.is_talking(now, idle_after))
            .count()
    }
}
