//! Handshakes begun by the gateway with clients that do not know that their tunnel is gone.
//!
//! A client notices only after 15 s that its gateway has forgotten it (WireGuard whitepaper, section 6.5), but answers
//! an initiation at once. The shard remembers three kinds of clients without a tunnel:
//!
//! - Clients of the previous process. The first data message from such an address begins the handshake.
//! - Clients whose grant ended. When there are new grants, the shard visits all of them, a slice at a time, and begins
//!   a handshake with those that are authorized again, because clients may be silent for 10 s. If this handshake is
//!   lost, data begins the next one. Nothing is sent to the client before the grant returns. Other grants that end or
//!   change need no visit: they cannot authorize these clients.
//! - Clients whose sessions were ended because time has leapt, or the keys may have been copied
//!   ([`reopen`](super::reopen)). The handshake begins at the next visit.
//!
//! Spoofed data messages can trigger these handshakes, so their cost is bounded: they are rate-limited, begun at most
//! once per [`REKEY_TIMEOUT`] and address, and only if there is room without ending a tunnel. A handshake without a
//! response in that time is given up, not retransmitted. The client's own initiations are accepted at any time.
//!
//! Clients behind one address answer all at once, so the first response to each of these handshakes is exempt from the
//! limit of its address.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Instant;

use crate::authorization::{CachedGrant, SnapTunAuthorization};
use crate::crypto::stack::on_wiped_stack;
use crate::drop_reason::DropReason;
use crate::endpoint::Endpoint;
use crate::protocol::{FORGET_AFTER_TIME, REJECT_AFTER_TIME, REKEY_TIMEOUT};
use crate::remembered::{Client, Wait};
use crate::server::SnapTunServer;
use crate::transmit::Transmit;
use crate::tunnel::{Peer, Tunnel};

impl<A: SnapTunAuthorization> SnapTunServer<A> {
    /// Remembers that `identity` had a tunnel at `remote` in the previous process: if data arrives from there in the
    /// next 180 s, the shard begins a handshake.
    ///
    /// Call it on the shard that `remote` belongs to, before the first packet if possible. Returns false without
    /// remembering it if there is already a tunnel, the identity is not authorized, or the number of remembered
    /// addresses has reached [`tunnels_per_shard`](crate::ShardConfig::tunnels_per_shard).
    ///
    /// The system clock must be later than at any handshake that the previous process began: `Tunn` takes the
    /// timestamps of initiations from it, and clients refuse a timestamp that is not later than the last.
    pub fn remember(&mut self, now: Instant, remote: SocketAddr, identity: [u8; 32]) -> bool {
        let remembered = &mut self.restart.remembered;
        if self.tunnels.find(remote).is_some()
            || remembered.len() >= self.config.tunnels_per_shard
            || CachedGrant::ask(&*self.authorization, now, self.generation, &identity).is_none()
        {
            return false;
        }
        remembered.insert(Client {
            remote,
            via: None,
            identity,
            wait: Wait::AwaitsData,
            not_before: now,
            forget_at: now + REJECT_AFTER_TIME,
        });
        true
    }

    /// Returns the number of remembered clients of the previous process.
    ///
    /// A client is no longer counted when it, or another client at its address, uses a tunnel, or when its 180 s are
    /// over, at the next visit of [`update_timers`](Self::update_timers). While a handshake with it is under way, it is
    /// still counted, and its half-open tunnel is counted as well.
    #[must_use]
    pub fn remembered_tunnels(&self) -> usize {
        self.restart.remembered.len() - self.restart.remembered.lapsed()
    }

    /// Returns the number of remembered clients whose tunnel was removed because the grant of their identity ended, or
    /// because their sessions were ended.
    ///
    /// Only clients that had used their tunnel are remembered. Together with those of the previous process there are at
    /// most [`tunnels_per_shard`](crate::ShardConfig::tunnels_per_shard); beyond that, a client is not remembered. A
    /// client is no longer counted when:
    ///
    /// - it, or another client at its address, uses a tunnel. While a handshake with it is under way, it is still
    ///   counted, and its half-open tunnel is counted as well;
    /// - 540 s have passed since its last message or, if its sessions were ended, 180 s since then;
    /// - [`one_tunnel_per_identity`](crate::ShardConfig::one_tunnel_per_identity) is set, its grant is back, and its
    ///   identity has another tunnel.
    #[must_use]
    pub fn lapsed_tunnels(&self) -> usize {
        self.restart.remembered.lapsed()
    }

    /// Remembers the client of a tunnel whose grant ended, if it used the tunnel.
    pub(crate) fn remember_lapsed(&mut self, now: Instant, tunnel: &Tunnel<A::SessionData>) {
        let forget_at = tunnel.heard_at() + FORGET_AFTER_TIME;
        self.remember_removed(now, tunnel, tunnel.is_in_use(), Wait::Lapsed, forget_at);
    }

    /// Remembers the client of a removed tunnel if it `had_use` of the tunnel. Otherwise the tunnel may have been a
    /// handshake with a client that is remembered already, which then waits for `wait`.
    pub(crate) fn remember_removed(
        &mut self,
        now: Instant,
        tunnel: &Tunnel<A::SessionData>,
        had_use: bool,
        wait: Wait,
        forget_at: Instant,
    ) {
        let remembered = &mut self.restart.remembered;
        let Endpoint { remote, via } = tunnel.endpoint();
        if had_use {
            if remembered.len() < self.config.tunnels_per_shard {
                remembered.insert(Client {
                    remote,
                    via: Some(via),
                    identity: *tunnel.identity(),
                    wait,
                    not_before: now,
                    forget_at,
                });
            }
        } else if let Some(client) = remembered.find(remote)
            && client.via.is_some()
            && client.identity == *tunnel.identity()
        {
            client.wait = wait;
        }
    }

    /// Visits a slice of the remembered clients: forgets the outdated ones, and begins handshakes with those that are
    /// authorized again.
    pub(crate) fn look_at_remembered(
        &mut self,
        now: Instant,
        send_to_network: &mut VecDeque<Transmit>,
    ) {
        let slots = self.restart.remembered.slots();
        self.restart.round.note_generation(self.new_grants, slots);
        let all = self.restart.round.is_for_all();
        for slot in self.restart.round.next_slice(now, slots) {
            let Some(client) = self.restart.remembered.get(slot.0) else {
                continue;
            };
            if now >= client.forget_at {
                let remote = client.remote;
                self.restart.forget(remote);
                continue;
            }
            let is_due = match client.wait {
                Wait::AwaitsData => false,
                Wait::Lapsed => all,
                Wait::Returned => true,
            };
            if is_due && !self.draining {
                self.resume(now, client.remote, send_to_network);
            }
        }
    }

    /// Begins a handshake with a client whose tunnel was removed, if its identity has a grant.
    fn resume(
        &mut self,
        now: Instant,
        remote: SocketAddr,
        send_to_network: &mut VecDeque<Transmit>,
    ) {
        let Some(client) = self.restart.remembered.find(remote) else {
            return;
        };
        let (Some(via), identity) = (client.via, client.identity) else {
            return;
        };
        let asked = CachedGrant::ask(&*self.authorization, now, self.generation, &identity);
        let Some(grant) = asked else {
            client.wait = Wait::Lapsed;
            return;
        };
        client.wait = Wait::Returned;
        if now < client.not_before || self.tunnels.find(remote).is_some() {
            return;
        }
        let has_moved =
            self.config.one_tunnel_per_identity && !self.census.tunnels_of(&identity).is_empty();
        if has_moved {
            self.restart.forget(remote);
        } else if self.has_room(&identity) && self.restart.pace.take(now) {
            let to = Endpoint { remote, via };
            // Data from the address begins the next handshake, also if this one could not begin.
            let _reason = self.begin_handshake(now, to, identity, grant, send_to_network);
        }
    }

    /// Handles data from an address without a tunnel: begins a handshake if its client is remembered. Returns the drop
    /// reason of the data.
    pub(crate) fn restart_tunnel(
        &mut self,
        now: Instant,
        from: Endpoint,
        send_to_network: &mut VecDeque<Transmit>,
    ) -> DropReason {
        let Some(client) = self.restart.remembered.find(from.remote) else {
            return DropReason::NoTunnel;
        };
        if self.draining {
            return DropReason::Draining;
        }
        if now >= client.forget_at {
            self.restart.forget(from.remote);
            return DropReason::NoTunnel;
        }
        let (identity, not_before) = (client.identity, client.not_before);
        let generation = self.generation;
        let Some(grant) = CachedGrant::ask(&*self.authorization, now, generation, &identity) else {
            return DropReason::Unauthorized;
        };
        if now < not_before {
            return DropReason::NoTunnel;
        }
        if !self.has_room(&identity) || !self.restart.pace.take(now) {
            self.counters.restart_handshakes_deferred += 1;
            return DropReason::NoTunnel;
        }
        self.begin_handshake(now, from, identity, grant, send_to_network)
    }

    /// Begins a handshake with a remembered client. Returns the drop reason of data from it.
    fn begin_handshake(
        &mut self,
        now: Instant,
        to: Endpoint,
        identity: [u8; 32],
        grant: CachedGrant<A::SessionData>,
        send_to_network: &mut VecDeque<Transmit>,
    ) -> DropReason {
        if let Some(client) = self.restart.remembered.find(to.remote) {
            client.wait = Wait::AwaitsData;
            client.not_before = now + REKEY_TIMEOUT;
        }
        on_wiped_stack(|| self.make_tunnel(now, to, identity, grant, send_to_network))
    }

    /// Makes a tunnel that begins a handshake.
    fn make_tunnel(
        &mut self,
        now: Instant,
        to: Endpoint,
        identity: [u8; 32],
        grant: CachedGrant<A::SessionData>,
        send_to_network: &mut VecDeque<Transmit>,
    ) -> DropReason {
        let static_shared = match self.agreement_key.agree(&identity) {
            Ok(shared) => shared,
            Err(reason) => return reason,
        };
        let peer = Peer {
            identity,
            static_shared,
            grant,
        };
        let tunn = self.new_tunn(&peer, to);
        let number = self.counters.tunnels_created;
        let Some((tunnel, initiation)) = Tunnel::restart(now, tunn, to, peer, number) else {
            return DropReason::NoTunnel;
        };
        self.insert(now, tunnel);
        self.counters.tunnels_created += 1;
        self.counters.handshakes_initiated += 1;
        self.counters.restart_handshakes_started += 1;
        send_to_network.push_back(Transmit::protocol(to, initiation));
        DropReason::NoSession
    }
}
