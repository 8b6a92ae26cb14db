//! What an initiation has to pass before it is answered.

use std::collections::VecDeque;
use std::time::Instant;

use ana_gotatun::packet::{Packet, WgHandshakeInit};
use rand::SeedableRng;
use rand::rngs::SmallRng;
use x25519_dalek::PublicKey;

use crate::authorization::{CachedGrant, SnapTunAuthorization};
use crate::drop_reason::DropReason;
use crate::endpoint::Endpoint;
use crate::incoming::{Consumed, Incoming, cookie_message, protocol_message};
use crate::initiation::{Claim, Timestamp};
use crate::overload::{Purpose, Refusal, Sender};
use crate::server::{Removal, SnapTunServer};
use crate::stack::on_wiped_stack;
use crate::transmit::Transmit;
use crate::tunnel::{Peer, Tunn, Tunnel};
use crate::tunnel_table::Slot;

/// An initiation that was admitted, and what it claims.
struct Opened {
    initiation: Packet<WgHandshakeInit>,
    from: Endpoint,
    sender: Sender,
    claim: Claim,
}

impl<A: SnapTunAuthorization> SnapTunServer<A> {
    /// Takes in an initiation; `slot` is the tunnel of the address that it came from.
    ///
    /// What is cheap comes first, and nothing changes before the sender has proven who it is.
    pub(crate) fn receive_initiation(
        &mut self,
        slot: Option<Slot>,
        now: Instant,
        initiation: Packet<WgHandshakeInit>,
        from: Endpoint,
        send_to_network: &mut VecDeque<Transmit>,
    ) -> Incoming<'_, A::SessionData> {
        if slot.is_none() && self.draining {
            return Incoming::Dropped(DropReason::Draining);
        }
        // An initiation is known by its ephemeral key: with another, nothing in it can be decrypted.
        if self
            .replay_guard
            .has_seen(&initiation.unencrypted_ephemeral)
        {
            return Incoming::Dropped(DropReason::ReplayedInitiation);
        }
        let sender = match self.admit(now, from, Purpose::Initiation, &*initiation) {
            Ok(sender) => sender,
            // It would get nothing, and who has a tunnel is to keep it, whoever uses up the budgets.
            Err(Refusal::Dropped(reason))
                if reason.is_handshake_limit() && self.may_exceed_limits(slot, now) =>
            {
                Sender::Unverified
            }
            Err(refusal) => return self.refuse(refusal, from, send_to_network),
        };
        on_wiped_stack(move || {
            self.receive_admitted(slot, now, initiation, from, sender, send_to_network)
        })
    }

    /// Takes in an initiation that was admitted: from here on there are secrets on the stack.
    fn receive_admitted(
        &mut self,
        slot: Option<Slot>,
        now: Instant,
        initiation: Packet<WgHandshakeInit>,
        from: Endpoint,
        sender: Sender,
        send_to_network: &mut VecDeque<Transmit>,
    ) -> Incoming<'_, A::SessionData> {
        let claim = match self.opener.open(&self.agreement_key, &initiation) {
            Ok(claim) => claim,
            Err(reason) => return Incoming::Dropped(reason),
        };
        let opened = Opened {
            initiation,
            from,
            sender,
            claim,
        };
        // Where `prepare` removes the tunnel, the address is free again.
        match slot.filter(|slot| self.prepare(*slot, now, send_to_network).is_ok()) {
            Some(slot) if self.belongs_to(slot, &opened.claim.identity) => {
                self.answer_in_tunnel(slot, now, opened, send_to_network)
            }
            holder => match self.answer_newcomer(holder, now, opened, send_to_network) {
                Ok(consumed) => Incoming::Consumed(consumed),
                Err(reason) => Incoming::Dropped(reason),
            },
        }
    }

    /// Whether one more initiation from the address of this tunnel is taken in beyond all limits.
    fn may_exceed_limits(&mut self, slot: Option<Slot>, now: Instant) -> bool {
        slot.and_then(|slot| self.tunnels.get_mut(slot))
            .is_some_and(|tunnel| tunnel.take_beyond_limits(now))
    }

    fn belongs_to(&mut self, slot: Slot, identity: &[u8; 32]) -> bool {
        let tunnel = self.tunnels.get_mut(slot);
        tunnel.is_some_and(|tunnel| tunnel.identity() == identity)
    }

    /// The owner of the address begins a session in its tunnel.
    fn answer_in_tunnel(
        &mut self,
        slot: Slot,
        now: Instant,
        opened: Opened,
        send_to_network: &mut VecDeque<Transmit>,
    ) -> Incoming<'_, A::SessionData> {
        let Some(tunnel) = self.tunnels.get_mut(slot) else {
            return Incoming::Dropped(DropReason::NoTunnel);
        };
        let proven = opened
            .claim
            .prove(&opened.initiation, tunnel.static_shared())
            .and_then(|timestamp| self.accept_once(now, &opened, timestamp));
        match proven {
            Ok(()) => {
                let message = opened.initiation.into();
                self.receive_in_tunnel(slot, now, message, opened.from, send_to_network)
            }
            Err(reason) => Incoming::Dropped(reason),
        }
    }

    /// Makes a tunnel for an identity that has none at this address; `holder` is another's that has.
    fn answer_newcomer(
        &mut self,
        holder: Option<Slot>,
        now: Instant,
        opened: Opened,
        send_to_network: &mut VecDeque<Transmit>,
    ) -> Result<Consumed, DropReason> {
        if self.draining {
            return Err(DropReason::Draining);
        }
        if holder.is_some_and(|holder| !self.is_silent(holder, now)) {
            return Err(DropReason::AddressHeld);
        }
        let (peer, timestamp) = self.prove_newcomer(now, &opened)?;
        if holder.is_some() && opened.sender == Sender::Unverified {
            // Whoever made the address up must not end the tunnel there.
            let initiation = &*opened.initiation;
            let reply = self
                .overload
                .cookie_reply(now, opened.from.remote, initiation);
            self.counters.cookies_demanded_takeover += 1;
            send_to_network.push_back(cookie_message(opened.from, &reply));
            return Ok(Consumed::CookieReplySent);
        }
        self.accept_once(now, &opened, timestamp)?;
        self.make_room(now, &peer.identity, holder)?;

        let Opened {
            initiation, from, ..
        } = opened;
        let tunn = self.new_tunn(&peer, from);
        let (tunnel, response) = Tunnel::answer(
            now,
            tunn,
            initiation,
            from,
            peer,
            self.counters.tunnels_created,
        )?;
        if let Some(holder) = holder {
            self.remove(holder, Removal::Replaced);
        }
        self.insert(now, tunnel);
        self.counters.tunnels_created += 1;
        self.counters.handshakes_answered_new += 1;
        send_to_network.push_back(protocol_message(from, response));
        Ok(Consumed::HandshakeAnswered { new_tunnel: true })
    }

    /// Whether a tunnel may lose its place to another.
    fn is_silent(&mut self, slot: Slot, now: Instant) -> bool {
        let silent_after = self.config.silent_after;
        let tunnel = self.tunnels.get_mut(slot);
        tunnel.is_none_or(|tunnel| tunnel.is_silent(now, silent_after))
    }

    /// Who an identity without a tunnel at this address is, if it is authorized and the initiation its own.
    fn prove_newcomer(
        &mut self,
        now: Instant,
        opened: &Opened,
    ) -> Result<(Peer<A::SessionData>, Timestamp), DropReason> {
        let identity = opened.claim.identity;
        let grant = CachedGrant::ask(&*self.authorization, now, self.generation, &identity)
            .ok_or(DropReason::Unauthorized)?;
        let static_shared = self.agreement_key.agree(&identity)?;
        let timestamp = opened.claim.prove(&opened.initiation, &static_shared)?;
        let peer = Peer {
            identity,
            static_shared,
            grant,
        };
        Ok((peer, timestamp))
    }

    fn accept_once(
        &self,
        now: Instant,
        opened: &Opened,
        timestamp: Timestamp,
    ) -> Result<(), DropReason> {
        let ephemeral = &opened.initiation.unencrypted_ephemeral;
        let identity = &opened.claim.identity;
        self.replay_guard
            .accept(now, identity, timestamp, ephemeral)
    }

    pub(crate) fn new_tunn(&mut self, peer: &Peer<A::SessionData>, from: Endpoint) -> Tunn {
        Tunn::new_with_rng(
            self.static_private.to_secret(),
            PublicKey::from(peer.identity),
            None,
            // The clients keep their tunnels alive themselves.
            None,
            self.session_indices.clone(),
            self.overload.limiter(),
            from.remote,
            SmallRng::from_rng(&mut self.jitter),
        )
    }
}
