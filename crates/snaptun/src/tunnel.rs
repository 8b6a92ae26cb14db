//! One tunnel: a WireGuard association with one identity at one remote address.

mod key_confirmation;
pub(crate) mod outstanding;
mod phase;
pub(crate) mod waiting_queue;

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use ana_gotatun::noise::TunnResult;
use ana_gotatun::packet::{
    Packet, WgCookieReply, WgData, WgHandshakeInit, WgHandshakeResp, WgKind,
};

use rand::rngs::SmallRng;

use crate::admission::allowance::Allowance;
use crate::authorization::{CachedGrant, SnapTunAuthorization};
use crate::config::ShardConfig;
use crate::crypto::key_agreement::SharedSecret;
use crate::crypto::stack::wipe_stack;
use crate::drop_reason::DropReason;
use crate::endpoint::Endpoint;
use crate::event::DirectoryChange;
use crate::protocol::{KEEPALIVE_TIMEOUT, REJECT_AFTER_TIME, REKEY_AFTER_TIME, REKEY_TIMEOUT};
use crate::transmit::Transmit;
use crate::tunnel::key_confirmation::KeyConfirmation;
use crate::tunnel::outstanding::Outstanding;
use crate::tunnel::phase::Phase;
use crate::tunnel::waiting_queue::{Owner, WaitingQueue, WaitingTotals};

/// Age of a session at which the next handshake is overdue: the side that began the session has tried, and tried
/// again. The 55 s that the session is still good for are enough for ten tries.
const REKEY_OVERDUE: Duration = REKEY_AFTER_TIME.saturating_add(REKEY_TIMEOUT);

/// Age of a session that the peer began at which the peer has missed the next handshake: a peer that only receives
/// begins it at `REJECT_AFTER_TIME - KEEPALIVE_TIMEOUT - REKEY_TIMEOUT` (section 6.2), and tries again after
/// [`REKEY_TIMEOUT`]. A peer may take us for the side that
/// renews the session, when it has answered an initiation of ours whose session never began.
const REKEY_MISSED: Duration = REJECT_AFTER_TIME.saturating_sub(KEEPALIVE_TIMEOUT);

/// How long neither data nor a handshake passed a quiet tunnel: what follows data, a keepalive after 10 s
/// or a handshake after 15 s, has happened by then.
const QUIET_AFTER: Duration = Duration::from_secs(20);

/// `Tunn` draws the jitter of its timers from a generator of its own. That needs no cryptography, and the
/// default one has 320 bytes.
pub(crate) type Tunn = ana_gotatun::noise::Tunn<SmallRng>;

pub(crate) struct Tunnel<S> {
    endpoint: Endpoint,
    peer: Peer<S>,
    /// No other tunnel of the shard has had this number; later ones have higher.
    number: u64,
    phase: Phase,
    confirmation: KeyConfirmation,
    created_at: Instant,
    /// When we last answered an initiation.
    answered_at: Instant,
    outstanding: Outstanding,
    /// When data last passed, in either direction; before it did, when the tunnel came into being.
    data_at: Instant,
    /// Made when it is first needed: most tunnels are never flooded.
    allowance: Option<Box<Allowance>>,
    /// When a handshake message last passed, in either direction.
    handshake_at: Instant,
    /// When the peer last sent something authenticated.
    heard_at: Instant,
    waiting: WaitingQueue,
    tunn: Tunn,
}

/// Who is at the other end.
pub(crate) struct Peer<S> {
    pub(crate) identity: [u8; 32],
    /// The secret of our static key and the peer's, which proves its initiations. It costs a
    /// Diffie-Hellman, and `Tunn` keeps its own to itself.
    pub(crate) static_shared: SharedSecret,
    pub(crate) grant: CachedGrant<S>,
}

/// What an accepted message was.
pub(crate) enum Received {
    Packet(Packet),
    Keepalive,
    /// The answer is to be sent.
    Initiation(WgKind),
    /// The keepalive that confirms the session is to be sent.
    Response(WgKind),
    CookieReply,
}

/// What became of an outgoing packet.
pub(crate) enum Sent {
    Encapsulated(Packet),
    /// An initiation is to be sent if none is under way.
    Waiting(Option<Packet<WgHandshakeInit>>),
    Refused(Packet),
}

/// The tunnel has been silent for too long; it is to be removed.
pub(crate) struct Expired;

impl<S> Tunnel<S> {
    /// On the heap from the start: a tunnel has 11 KB, and each move of it takes time and leaves a copy of its keys.
    fn new(
        now: Instant,
        tunn: Tunn,
        endpoint: Endpoint,
        peer: Peer<S>,
        number: u64,
        phase: Phase,
    ) -> Box<Self> {
        Box::new(Tunnel {
            endpoint,
            peer,
            number,
            phase,
            confirmation: KeyConfirmation::default(),
            created_at: now,
            answered_at: now,
            outstanding: Outstanding::default(),
            data_at: now,
            allowance: None,
            handshake_at: now,
            heard_at: now,
            waiting: WaitingQueue::default(),
            tunn,
        })
    }

    /// Answers the initiation of a new peer. There is a tunnel only if that succeeds.
    pub(crate) fn answer(
        now: Instant,
        tunn: Tunn,
        initiation: Packet<WgHandshakeInit>,
        from: Endpoint,
        peer: Peer<S>,
        number: u64,
    ) -> Result<(Box<Self>, WgKind), DropReason> {
        let mut tunnel = Tunnel::new(now, tunn, from, peer, number, Phase::HalfOpen);
        let response = tunnel.answer_initiation(initiation)?;
        Ok((tunnel, response))
    }

    /// Begins the handshake with a peer that had a tunnel before.
    pub(crate) fn restart(
        now: Instant,
        tunn: Tunn,
        to: Endpoint,
        peer: Peer<S>,
        number: u64,
    ) -> Option<(Box<Self>, Packet<WgHandshakeInit>)> {
        let mut tunnel = Tunnel::new(now, tunn, to, peer, number, Phase::Restarting);
        let initiation = tunnel.begin_handshake(now)?;
        Some((tunnel, initiation))
    }

    pub(crate) fn endpoint(&self) -> Endpoint {
        self.endpoint
    }

    pub(crate) fn outstanding(&self) -> &Outstanding {
        &self.outstanding
    }

    pub(crate) fn session_data(&self) -> &S {
        self.peer.grant.session_data()
    }

    pub(crate) fn identity(&self) -> &[u8; 32] {
        &self.peer.identity
    }

    pub(crate) fn number(&self) -> u64 {
        self.number
    }

    pub(crate) fn created_at(&self) -> Instant {
        self.created_at
    }

    pub(crate) fn heard_at(&self) -> Instant {
        self.heard_at
    }

    pub(crate) fn static_shared(&self) -> &SharedSecret {
        &self.peer.static_shared
    }

    /// Whether the peer has ever used the tunnel. If not, our answers may never have reached it.
    pub(crate) fn is_in_use(&self) -> bool {
        self.phase.is_in_use()
    }

    /// What initiations from the tunnel's address get beyond the limits: nothing if nobody has used the tunnel.
    pub(crate) fn allowance(&mut self, now: Instant) -> Option<&mut Allowance> {
        let in_use = self.is_in_use();
        let allowance = &mut self.allowance;
        in_use.then(|| &mut **allowance.get_or_insert_with(|| Box::new(Allowance::new(now))))
    }

    /// Whether the peer has not been heard from for so long, or never but for initiations.
    pub(crate) fn is_silent(&self, now: Instant, silent_after: Duration) -> bool {
        !self.is_in_use() || now.saturating_duration_since(self.heard_at) >= silent_after
    }

    /// Whether we began it, and the peer has not been heard from.
    pub(crate) fn is_restarting(&self) -> bool {
        self.phase == Phase::Restarting
    }

    /// A response with this receiver index is taken in.
    pub(crate) fn note_response(&mut self, index: u32) {
        self.outstanding.note_response(index);
    }

    /// Whether that peer did not answer in time.
    pub(crate) fn is_restart_over(&self, now: Instant) -> bool {
        self.is_restarting() && now.saturating_duration_since(self.created_at) >= REKEY_TIMEOUT
    }

    /// Whether the directory has the tunnel.
    pub(crate) fn is_in_directory(&self) -> bool {
        matches!(
            self.phase,
            Phase::InUse {
                in_directory: Some(_)
            }
        )
    }

    /// Takes what the directory is to be told, if it is time.
    pub(crate) fn take_directory_change(&mut self) -> Option<DirectoryChange> {
        let Phase::InUse { in_directory } = &mut self.phase else {
            return None;
        };
        let heard_at = self.heard_at;
        if in_directory.is_some_and(|told| heard_at.duration_since(told) < DirectoryChange::REFRESH)
        {
            return None;
        }
        *in_directory = Some(heard_at);
        Some(DirectoryChange::Seen {
            remote: self.endpoint.remote,
            identity: self.peer.identity,
            heard_at,
        })
    }

    /// Whether the identity may have this tunnel. Asks only when the cached grant does not tell.
    pub(crate) fn is_authorized<A>(
        &mut self,
        authorization: &A,
        now: Instant,
        generation: u64,
    ) -> bool
    where
        A: SnapTunAuthorization<SessionData = S>,
    {
        if self.peer.grant.holds(now, generation) {
            return true;
        }
        match CachedGrant::ask(authorization, now, generation, &self.peer.identity) {
            Some(grant) => {
                self.peer.grant = grant;
                true
            }
            None => false,
        }
    }

    /// Takes in a message that came from the tunnel's address. Only what is authenticated changes
    /// where the tunnel's datagrams leave from.
    pub(crate) fn receive(
        &mut self,
        now: Instant,
        message: WgKind,
        from: Endpoint,
    ) -> Result<Received, DropReason> {
        match message {
            WgKind::Data(data) => self.receive_data(now, data, from),
            WgKind::HandshakeInit(initiation) => self.receive_initiation(now, initiation, from),
            WgKind::HandshakeResp(response) => self.receive_response(now, response, from),
            WgKind::CookieReply(reply) => self.receive_cookie_reply(reply),
        }
    }

    fn receive_data(
        &mut self,
        now: Instant,
        data: Packet<WgData>,
        from: Endpoint,
    ) -> Result<Received, DropReason> {
        let session = data.header.receiver_idx.get();
        match self.tunn.handle_incoming_packet(data.into()) {
            TunnResult::WriteToTunnel(packet) => {
                self.endpoint = from;
                self.heard_at = now;
                self.phase.used();
                self.confirmation.peer_used(now, session);
                if packet.is_empty() {
                    return Ok(Received::Keepalive);
                }
                self.data_at = now;
                Ok(Received::Packet(packet))
            }
            refused => Err(DropReason::of_result(&refused)),
        }
    }

    fn receive_initiation(
        &mut self,
        now: Instant,
        initiation: Packet<WgHandshakeInit>,
        from: Endpoint,
    ) -> Result<Received, DropReason> {
        let response = self.answer_initiation(initiation)?;
        self.endpoint = from;
        self.phase.answered();
        self.answered_at = now;
        self.handshake_at = now;
        self.heard_at = now;
        Ok(Received::Initiation(response))
    }

    /// Answers an initiation, which makes a session that the peer has not confirmed yet.
    fn answer_initiation(
        &mut self,
        initiation: Packet<WgHandshakeInit>,
    ) -> Result<WgKind, DropReason> {
        match self.tunn.handle_incoming_packet(initiation.into()) {
            TunnResult::WriteToNetwork(WgKind::HandshakeResp(response)) => {
                let session = response.sender_idx.get();
                self.confirmation.answered(session);
                self.outstanding.responded(session);
                Ok(response.into())
            }
            refused => Err(DropReason::of_result(&refused)),
        }
    }

    /// `Tunn` keeps the initiation before its last for ever. A response to it that was held back would
    /// begin a session, and we would send in it, which the peer has long had and soon forgets.
    fn receive_response(
        &mut self,
        now: Instant,
        response: Packet<WgHandshakeResp>,
        from: Endpoint,
    ) -> Result<Received, DropReason> {
        let session = response.receiver_idx.get();
        if !self.outstanding.awaits_response(now, session) {
            return Err(DropReason::Unsolicited);
        }
        match self.tunn.handle_incoming_packet(response.into()) {
            TunnResult::WriteToNetwork(keepalive) => {
                self.endpoint = from;
                self.phase.used();
                self.heard_at = now;
                self.confirmation.completed(now, session);
                self.outstanding.completed();
                self.handshake_at = now;
                Ok(Received::Response(keepalive))
            }
            refused => Err(DropReason::of_result(&refused)),
        }
    }

    /// A cookie reply proves only that its sender has seen our initiation: the tunnel's endpoint stays.
    fn receive_cookie_reply(
        &mut self,
        reply: Packet<WgCookieReply>,
    ) -> Result<Received, DropReason> {
        match self.tunn.handle_incoming_packet(reply.into()) {
            TunnResult::Done => Ok(Received::CookieReply),
            refused => Err(DropReason::of_result(&refused)),
        }
    }

    /// Encapsulates everything that waits, in order, if there is a session to do it with. Returns how
    /// many packets that were.
    pub(crate) fn send_waiting(
        &mut self,
        now: Instant,
        totals: &mut WaitingTotals,
        send_to_network: &mut VecDeque<Transmit>,
    ) -> u64 {
        if self.waiting.is_empty() || !self.may_send() {
            return 0;
        }
        let mut sent = 0;
        while let Some(packet) = self.waiting.pop(totals) {
            match self.tunn.encapsulate_with_session(packet) {
                Ok(data) => {
                    sent += 1;
                    self.data_at = now;
                    send_to_network.push_back(Transmit::forwarded(self.endpoint, data.into()));
                }
                Err(packet) => {
                    self.waiting.unpop(packet, self.owner(), totals);
                    break;
                }
            }
        }
        sent
    }

    /// Encapsulates a packet, or lets it wait for a session.
    pub(crate) fn send(
        &mut self,
        now: Instant,
        packet: Packet,
        limits: &ShardConfig,
        totals: &mut WaitingTotals,
    ) -> Sent {
        let packet = match self.send_at_once(now, packet) {
            Ok(data) => return Sent::Encapsulated(data),
            Err(packet) => packet,
        };
        match self.waiting.push(packet, self.owner(), limits, totals) {
            Ok(()) => Sent::Waiting(self.initiation_for_waiting(now)),
            Err(packet) => Sent::Refused(packet),
        }
    }

    /// Whether the session that `Tunn` would use, if there is one, is known to the peer.
    fn may_send(&self) -> bool {
        self.is_in_use() && self.confirmation.is_newest_used_intact()
    }

    fn owner(&self) -> Owner {
        Owner {
            identity: self.peer.identity,
            half_open: !self.is_in_use(),
        }
    }

    /// Encapsulates a packet, or gives it back where it would have to wait for a session.
    pub(crate) fn send_at_once(&mut self, now: Instant, packet: Packet) -> Result<Packet, Packet> {
        // No session comes into being but by an incoming packet, after which nothing waits: what waits
        // now has no session, and this packet stays behind it.
        if !self.waiting.is_empty() || !self.may_send() {
            return Err(packet);
        }
        self.data_at = now;
        self.tunn.encapsulate_with_session(packet).map(Packet::from)
    }

    /// Whether neither data nor a handshake message passed for a while, and none waits to.
    pub(crate) fn is_quiet(&self, now: Instant) -> bool {
        !self.is_talking(now, QUIET_AFTER)
            && now.saturating_duration_since(self.handshake_at) >= QUIET_AFTER
            && self.waiting.is_empty()
    }

    /// Whether data passed less than `idle_after` ago, in either direction.
    pub(crate) fn is_talking(&self, now: Instant, idle_after: Duration) -> bool {
        now.saturating_duration_since(self.data_at) < idle_after
    }

    /// When the authorization layer has to be asked again at the latest, unless its generation changes.
    pub(crate) fn grant_end(&self) -> Option<Instant> {
        self.peer.grant.end()
    }

    /// Makes an initiation, unless a handshake that we began is under way.
    fn begin_handshake(&mut self, now: Instant) -> Option<Packet<WgHandshakeInit>> {
        let initiation = self.tunn.format_handshake_initiation(false)?;
        wipe_stack();
        self.initiated(now, &initiation);
        Some(initiation)
    }

    /// Begins a handshake if packets wait for one and none is under way in either direction.
    fn initiation_for_waiting(&mut self, now: Instant) -> Option<Packet<WgHandshakeInit>> {
        let is_due = !self.waiting.is_empty()
            && now.saturating_duration_since(self.answered_at) >= REKEY_TIMEOUT;
        is_due.then(|| self.begin_handshake(now)).flatten()
    }

    /// Begins a handshake if the next is overdue and the client is there. It is overdue later where it is for the client
    /// to do: where that began the session, and its initiations are not among those that are refused without being
    /// opened.
    pub(crate) fn initiation_overdue(
        &mut self,
        now: Instant,
        silent_after: Duration,
    ) -> Option<Packet<WgHandshakeInit>> {
        let is_recent = |at| now.saturating_duration_since(at) < REKEY_TIMEOUT;
        let overdue_at = if self.confirmation.is_ours() || self.is_under_pressure(now) {
            REKEY_OVERDUE
        } else {
            REKEY_MISSED
        };
        let is_overdue = self
            .confirmation
            .session_age(now)
            .is_some_and(|age| age >= overdue_at);
        if !is_overdue
            || self.is_silent(now, silent_after)
            || is_recent(self.answered_at)
            || self.outstanding.initiated_at().is_some_and(is_recent)
        {
            return None;
        }
        self.begin_handshake(now)
    }

    /// Whether initiations from the tunnel's address were refused unopened lately.
    pub(crate) fn is_under_pressure(&self, now: Instant) -> bool {
        let allowance = self.allowance.as_ref();
        allowance.is_some_and(|allowance| allowance.is_under_pressure(now))
    }

    fn initiated(&mut self, now: Instant, initiation: &WgHandshakeInit) {
        self.outstanding.initiated(now, initiation.sender_idx.get());
        self.handshake_at = now;
    }

    /// Looks at the timers: returns a message that is due, or says that the tunnel has expired.
    pub(crate) fn update_timers(&mut self, now: Instant) -> Result<Option<WgKind>, Expired> {
        // `ConnectionExpired` is the only error that it knows.
        let due = self.tunn.update_timers().map_err(|_| Expired)?;
        if let Some(WgKind::HandshakeInit(initiation)) = &due {
            self.initiated(now, initiation);
        }
        let due = due.or_else(|| self.initiation_for_waiting(now).map(WgKind::from));
        if let Some(WgKind::HandshakeInit(_)) = due {
            wipe_stack();
        }
        Ok(due)
    }

    /// Drops all that waits and returns how many packets that were.
    pub(crate) fn discard_waiting(&mut self, totals: &mut WaitingTotals) -> u64 {
        self.waiting.discard(totals)
    }
}
