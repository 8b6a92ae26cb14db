//! What an initiation has to pass before it is answered.

use std::collections::VecDeque;
use std::time::Instant;

use ana_gotatun::noise::Tunn;
use ana_gotatun::packet::{Packet, WgHandshakeInit};
use x25519_dalek::PublicKey;

use crate::authorization::{CachedGrant, SnapTunAuthorization};
use crate::drop_reason::DropReason;
use crate::endpoint::Endpoint;
use crate::incoming::{Consumed, Incoming, protocol_message};
use crate::initiation::Claim;
use crate::message;
use crate::server::SnapTunServer;
use crate::transmit::Transmit;
use crate::tunnel::{Peer, Tunnel};
use crate::tunnel_table::Slot;

impl<A: SnapTunAuthorization> SnapTunServer<A> {
    /// Whether the initiation was accepted lately, by any shard. It is known by its ephemeral key: with
    /// another, nothing in it can be decrypted.
    pub(crate) fn has_seen(&self, initiation: &[u8]) -> bool {
        message::ephemeral_of(initiation)
            .is_some_and(|ephemeral| self.replay_guard.has_seen(ephemeral))
    }

    /// Takes in an initiation that was admitted; `slot` is the tunnel of the address that it came from.
    pub(crate) fn receive_initiation(
        &mut self,
        slot: Option<Slot>,
        now: Instant,
        initiation: Packet<WgHandshakeInit>,
        from: Endpoint,
        send_to_network: &mut VecDeque<Transmit>,
    ) -> Incoming<'_, A::SessionData> {
        let claim = match self.opener.open(&self.static_private, &initiation) {
            Ok(claim) => claim,
            Err(reason) => return Incoming::Dropped(reason),
        };
        // Where `prepare` removes the tunnel, the address is free again.
        if let Some(slot) = slot.filter(|slot| self.prepare(*slot, now, send_to_network).is_ok()) {
            return match self.may_answer_in_tunnel(slot, now, &initiation, &claim) {
                Ok(()) => {
                    self.receive_in_tunnel(slot, now, initiation.into(), from, send_to_network)
                }
                Err(reason) => Incoming::Dropped(reason),
            };
        }
        match self.create_tunnel(now, initiation, &claim, from, send_to_network) {
            Ok(()) => Incoming::Consumed(Consumed::HandshakeAnswered { new_tunnel: true }),
            Err(reason) => Incoming::Dropped(reason),
        }
    }

    /// The address has a tunnel: only its own identity may begin a session there, and only anew.
    fn may_answer_in_tunnel(
        &mut self,
        slot: Slot,
        now: Instant,
        initiation: &WgHandshakeInit,
        claim: &Claim,
    ) -> Result<(), DropReason> {
        let tunnel = self.tunnels.get_mut(slot).ok_or(DropReason::NoTunnel)?;
        if *tunnel.identity() != claim.identity {
            return Err(DropReason::AddressHeld);
        }
        let timestamp = claim.prove(initiation, tunnel.static_shared())?;
        let ephemeral = &initiation.unencrypted_ephemeral;
        self.replay_guard
            .accept(now, &claim.identity, timestamp, ephemeral)
    }

    /// The address has no tunnel: makes one if the identity is authorized, and the initiation is its own
    /// and new.
    fn create_tunnel(
        &mut self,
        now: Instant,
        initiation: Packet<WgHandshakeInit>,
        claim: &Claim,
        from: Endpoint,
        send_to_network: &mut VecDeque<Transmit>,
    ) -> Result<(), DropReason> {
        let identity = claim.identity;
        let grant = CachedGrant::ask(&*self.authorization, now, self.generation, &identity)
            .ok_or(DropReason::Unauthorized)?;
        let peer = PublicKey::from(identity);
        let static_shared = self.static_private.diffie_hellman(&peer);
        let timestamp = claim.prove(&initiation, &static_shared)?;
        let ephemeral = &initiation.unencrypted_ephemeral;
        self.replay_guard
            .accept(now, &identity, timestamp, ephemeral)?;

        let tunn = Tunn::new(
            self.static_private.clone(),
            peer,
            None,
            // The clients keep their tunnels alive themselves.
            None,
            self.session_indices.clone(),
            self.overload.limiter(),
            from.remote,
        );
        let peer = Peer {
            identity,
            static_shared,
            grant,
        };
        let (tunnel, response) = Tunnel::answer(now, tunn, initiation, from, peer)?;
        self.tunnels.insert(now, tunnel);
        self.counters.tunnels_created += 1;
        self.counters.handshakes_answered_new += 1;
        send_to_network.push_back(protocol_message(from, response));
        Ok(())
    }
}
