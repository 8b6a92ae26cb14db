//! Steps of an initiation until it is answered.

use std::collections::VecDeque;
use std::time::Instant;

use ana_gotatun::packet::{Packet, WgHandshakeInit};
use rand::SeedableRng;
use rand::rngs::SmallRng;
use x25519_dalek::PublicKey;

use crate::admission::Excess;
use crate::admission::handshake_limits::{Limit, Purpose, Sender};
use crate::authorization::{CachedGrant, SnapTunAuthorization};
use crate::crypto::initiation::{Claim, Timestamp};
use crate::crypto::stack::on_wiped_stack;
use crate::drop_reason::DropReason;
use crate::endpoint::Endpoint;
use crate::fate::{Consumed, Incoming};
use crate::server::{Removal, SnapTunServer};
use crate::transmit::Transmit;
use crate::tunnel::{Peer, Tunn, Tunnel};
use crate::tunnel_table::Slot;

/// Admitted initiation and its claimed identity.
struct Opened {
    initiation: Packet<WgHandshakeInit>,
    from: Endpoint,
    sender: Sender,
    claim: Claim,
    /// Set if all limits are used up and the client of the tunnel at its address is proven to have made it.
    beyond_limits: bool,
}

impl<A: SnapTunAuthorization> SnapTunServer<A> {
    /// Handles an initiation; `slot` is the tunnel of its source address.
    ///
    /// Cheap checks come first, and no state changes before the sender's identity is proven.
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
        // The ephemeral key identifies an initiation: with another key, nothing in it can be decrypted.
        if self
            .replay_guard
            .has_seen(&initiation.unencrypted_ephemeral)
        {
            return Incoming::Dropped(DropReason::ReplayedInitiation);
        }
        let admission = self.admit(now, from, Purpose::Initiation, &*initiation);
        if let Err(excess) = admission
            && !self.may_exceed_limits(slot, now, excess)
        {
            return self.refuse(slot, now, excess, &*initiation, from, send_to_network);
        }
        on_wiped_stack(move || {
            self.receive_admitted(slot, now, initiation, from, admission, send_to_network)
        })
    }

    /// Handles an initiation that was admitted, or that may be answered beyond the limits if the client of the tunnel
    /// made it. From here on there are secrets on the stack.
    fn receive_admitted(
        &mut self,
        slot: Option<Slot>,
        now: Instant,
        initiation: Packet<WgHandshakeInit>,
        from: Endpoint,
        admission: Result<Sender, Excess>,
        send_to_network: &mut VecDeque<Transmit>,
    ) -> Incoming<'_, A::SessionData> {
        let (sender, claim) = match admission {
            Ok(sender) => match self.opener.open(&self.agreement_key, &initiation) {
                Ok(claim) => (sender, claim),
                Err(reason) => return Incoming::Dropped(reason),
            },
            // The client of a tunnel is answered even if others use up the budgets.
            Err(excess) => match self.claim_of_client(slot, &initiation) {
                Some(claim) => (excess.sender, claim),
                None => {
                    return self.refuse(slot, now, excess, &*initiation, from, send_to_network);
                }
            },
        };
        let limits = self.admission.limits();
        if limits.is_identity_over_limit(now, &claim.identity) {
            return Incoming::Dropped(DropReason::IdentityHandshakeLimit);
        }
        let opened = Opened {
            initiation,
            from,
            sender,
            claim,
            beyond_limits: admission.is_err(),
        };
        // If `prepare` removes the tunnel, the address is free again.
        let fate = match slot.filter(|slot| self.prepare(*slot, now, send_to_network).is_ok()) {
            Some(slot) if self.belongs_to(slot, &opened.claim.identity) => {
                self.answer_in_tunnel(slot, now, opened, send_to_network)
            }
            holder => self.answer_newcomer(holder, now, opened, send_to_network),
        };
        match fate {
            Ok(consumed) => Incoming::Consumed(consumed),
            Err(reason) => Incoming::Dropped(reason),
        }
    }

    /// Returns true if an initiation beyond all limits may be opened, to see if the client of the tunnel at its address
    /// made it.
    fn may_exceed_limits(&mut self, slot: Option<Slot>, now: Instant, excess: Excess) -> bool {
        let limits = self.admission.limits();
        slot.and_then(|slot| self.tunnels.get_mut(slot))
            .and_then(|tunnel| tunnel.allowance(now))
            .is_some_and(|allowance| {
                allowance.may_open(now, excess.sender, || limits.take_proof(now))
            })
    }

    /// Opens an initiation made by the client of a tunnel. Returns `None` if another sender made it.
    fn claim_of_client(
        &mut self,
        slot: Option<Slot>,
        initiation: &WgHandshakeInit,
    ) -> Option<Claim> {
        let tunnel = self.tunnels.get_mut(slot?)?;
        let claim = self.opener.open(&self.agreement_key, initiation).ok()?;
        let is_clients = claim.identity == *tunnel.identity()
            && claim.prove(initiation, tunnel.static_shared()).is_ok();
        is_clients.then_some(claim)
    }

    fn belongs_to(&self, slot: Slot, identity: &[u8; 32]) -> bool {
        let tunnel = self.tunnels.get(slot);
        tunnel.is_some_and(|tunnel| tunnel.identity() == identity)
    }

    /// Answers the initiation of a tunnel's own peer with a new session.
    fn answer_in_tunnel(
        &mut self,
        slot: Slot,
        now: Instant,
        opened: Opened,
        send_to_network: &mut VecDeque<Transmit>,
    ) -> Result<Consumed, DropReason> {
        let tunnel = self.tunnels.get_mut(slot).ok_or(DropReason::NoTunnel)?;
        let timestamp = opened
            .claim
            .prove(&opened.initiation, tunnel.static_shared())?;
        self.accept_once(now, &opened, timestamp)?;
        let message = opened.initiation.into();
        let consumed =
            match self.receive_in_tunnel(slot, now, message, opened.from, send_to_network) {
                Incoming::Consumed(consumed) => consumed,
                Incoming::Dropped(reason) => return Err(reason),
                // Only data is delivered.
                Incoming::Delivered { .. } => return Err(DropReason::Malformed),
            };
        if opened.beyond_limits {
            // Counted only now, so that replays and spoofed initiations do not use up the client's
            // permit.
            self.counters.handshakes_beyond_limits += 1;
            let tunnel = self.tunnels.get_mut(slot);
            if let Some(allowance) = tunnel.and_then(|tunnel| tunnel.allowance(now)) {
                allowance.answered(now);
            }
        }
        Ok(consumed)
    }

    /// Makes a tunnel for an identity without one at this address; `holder` is the tunnel of another identity there.
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
            // A spoofed source address must not end the tunnel there.
            let address = opened.from.remote.ip();
            if !self.admission.take_cookie(now, address, Limit::Address) {
                return Err(DropReason::CookieReplyLimit);
            }
            let initiation = &*opened.initiation;
            let reply = self
                .admission
                .cookie_reply(now, opened.from.remote, initiation);
            self.counters.cookies_demanded_takeover += 1;
            send_to_network.push_back(Transmit::cookie_reply(opened.from, &reply));
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
        send_to_network.push_back(Transmit::protocol(from, response));
        Ok(Consumed::HandshakeAnswered { new_tunnel: true })
    }

    /// Returns true if the tunnel may be replaced by another.
    fn is_silent(&self, slot: Slot, now: Instant) -> bool {
        let silent_after = self.config.silent_after;
        let tunnel = self.tunnels.get(slot);
        tunnel.is_none_or(|tunnel| tunnel.is_silent(now, silent_after))
    }

    /// Authorizes the sender of an initiation without a tunnel at this address, and proves its identity.
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
        &mut self,
        now: Instant,
        opened: &Opened,
        timestamp: Timestamp,
    ) -> Result<(), DropReason> {
        let ephemeral = &opened.initiation.unencrypted_ephemeral;
        let identity = &opened.claim.identity;
        self.replay_guard
            .accept(now, identity, timestamp, ephemeral)?;
        self.admission.limits().count_identity(now, identity);
        Ok(())
    }

    pub(crate) fn new_tunn(&mut self, peer: &Peer<A::SessionData>, from: Endpoint) -> Tunn {
        Tunn::new_with_rng(
            self.static_private.to_secret(),
            PublicKey::from(peer.identity),
            None,
            // Clients keep their tunnels alive themselves.
            None,
            self.session_indices.clone(),
            self.admission.limiter(),
            from.remote,
            SmallRng::from_rng(&mut self.jitter),
        )
    }
}
