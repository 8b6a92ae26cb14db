//! One tunnel: a WireGuard association with one identity at one remote address.

mod activity;
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
use crate::event::{DirectoryChange, Events};
use crate::protocol::{KEEPALIVE_TIMEOUT, REJECT_AFTER_TIME, REKEY_AFTER_TIME, REKEY_TIMEOUT};
use crate::transmit::Transmit;
use crate::tunnel::activity::Activity;
use crate::tunnel::key_confirmation::KeyConfirmation;
use crate::tunnel::outstanding::Outstanding;
use crate::tunnel::phase::Phase;
use crate::tunnel::waiting_queue::{Owner, WaitingQueue, WaitingTotals};
use crate::usage::{Traffic, Usage};

/// Age of a session at which the next handshake is overdue: its initiator has made two attempts. The remaining 55 s of
/// the session suffice for ten more.
const REKEY_OVERDUE: Duration = REKEY_AFTER_TIME.saturating_add(REKEY_TIMEOUT);

/// Age of a session begun by the peer at which the peer has missed the next handshake: a peer that only receives begins
/// it at `REJECT_AFTER_TIME - KEEPALIVE_TIMEOUT - REKEY_TIMEOUT` (section 6.2) and retries after [`REKEY_TIMEOUT`]. A
/// peer that answered an initiation of ours may leave the renewal to us, even if that session never began.
const REKEY_MISSED: Duration = REJECT_AFTER_TIME.saturating_sub(KEEPALIVE_TIMEOUT);

/// Time without data and handshakes after which a tunnel is quiet: keepalives follow data after 10 s, handshakes after
/// 15 s.
const QUIET_AFTER: Duration = Duration::from_secs(20);

/// Age of the last timer check after which the next message needs one first. Tunnels with messages are checked once a
/// second, so this happens only after the time has leapt, or in an overloaded shard.
const CHECK_OUTDATED: Duration = Duration::from_secs(2);

/// Minimum time without a timer check that counts as a leap. Quiet tunnels are checked every 4 s.
const LEAP_MIN: Duration = Duration::from_secs(10);

/// `Tunn` with a small, non-cryptographic generator for the jitter of its timers; the default one has 320 bytes.
pub(crate) type Tunn = ana_gotatun::noise::Tunn<SmallRng>;

pub(crate) struct Tunnel<S> {
    endpoint: Endpoint,
    peer: Peer<S>,
    /// Unique in the shard, and higher for later tunnels.
    number: u64,
    phase: Phase,
    confirmation: KeyConfirmation,
    created_at: Instant,
    /// Time of our last response to an initiation.
    answered_at: Instant,
    outstanding: Outstanding,
    activity: Activity,
    /// Start of the current usage record.
    usage_since: Instant,
    /// Allocated on demand: most tunnels are never flooded.
    allowance: Option<Box<Allowance>>,
    /// Time of the last handshake message in either direction.
    handshake_at: Instant,
    /// Time of the last timer check, which is all that `Tunn` knows of the time.
    checked_at: Instant,
    waiting: WaitingQueue,
    tunn: Tunn,
}

/// Identity and secrets of the peer.
pub(crate) struct Peer<S> {
    pub(crate) identity: [u8; 32],
    /// Shared secret of both static keys, which proves the peer's initiations. Costs a Diffie-Hellman; `Tunn` does not
    /// expose its copy.
    pub(crate) static_shared: SharedSecret,
    pub(crate) grant: CachedGrant<S>,
}

/// Kind of an accepted message.
pub(crate) enum Received {
    Packet(Packet),
    Keepalive,
    /// With the response to send.
    Initiation(WgKind),
    /// With the keepalive to send, which confirms the session.
    Response(WgKind),
    CookieReply,
}

/// Fate of an outgoing packet.
pub(crate) enum Sent {
    Encapsulated(Packet),
    /// With the initiation to send if none is under way.
    Waiting(Option<Packet<WgHandshakeInit>>),
    Refused(Packet),
}

/// The tunnel was silent for too long and must be removed.
pub(crate) struct Expired;

impl<S> Tunnel<S> {
    /// Boxed from the start: a tunnel has 11 KB, and each move takes time and leaves a copy of its keys.
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
            activity: Activity::new(now),
            usage_since: now,
            allowance: None,
            handshake_at: now,
            checked_at: now,
            waiting: WaitingQueue::default(),
            tunn,
        })
    }

    /// Creates the tunnel of a new peer by answering its initiation.
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

    /// Creates a tunnel by beginning a handshake with a remembered peer.
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
        self.activity.heard_at
    }

    pub(crate) fn static_shared(&self) -> &SharedSecret {
        &self.peer.static_shared
    }

    /// Returns true if the peer has used the tunnel. Before that, our response may not have reached it.
    pub(crate) fn is_in_use(&self) -> bool {
        self.phase.is_in_use()
    }

    /// Returns the allowance for initiations beyond the limits, or `None` for a tunnel that is not in use.
    pub(crate) fn allowance(&mut self, now: Instant) -> Option<&mut Allowance> {
        let in_use = self.is_in_use();
        let allowance = &mut self.allowance;
        in_use.then(|| &mut **allowance.get_or_insert_with(|| Box::new(Allowance::new(now))))
    }

    /// Returns true if the peer has been silent for at least `silent_after`, or has sent only initiations.
    pub(crate) fn is_silent(&self, now: Instant, silent_after: Duration) -> bool {
        !self.is_in_use() || now.saturating_duration_since(self.activity.heard_at) >= silent_after
    }

    /// Returns true if we began the first handshake and have not heard from the peer.
    pub(crate) fn is_restarting(&self) -> bool {
        self.phase == Phase::Restarting
    }

    /// Records a response with this receiver index.
    pub(crate) fn note_response(&mut self, index: u32) {
        self.outstanding.note_response(index);
    }

    /// Returns true if the peer of such a tunnel did not answer in time.
    pub(crate) fn is_restart_over(&self, now: Instant) -> bool {
        self.is_restarting() && now.saturating_duration_since(self.created_at) >= REKEY_TIMEOUT
    }

    /// Returns true if the tunnel was reported to the directory.
    pub(crate) fn is_in_directory(&self) -> bool {
        matches!(
            self.phase,
            Phase::InUse {
                in_directory: Some(_)
            }
        )
    }

    /// Returns the tunnel's directory change if one is due, and marks it as reported.
    pub(crate) fn take_directory_change(&mut self) -> Option<DirectoryChange> {
        let Phase::InUse { in_directory } = &mut self.phase else {
            return None;
        };
        let heard_at = self.activity.heard_at;
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

    /// Returns true if the identity is authorized. Asks the authorization layer only if the cached grant does not hold.
    pub(crate) fn is_authorized<A>(
        &mut self,
        authorization: &A,
        now: Instant,
        generation: u64,
        events: &mut Events<S>,
    ) -> bool
    where
        A: SnapTunAuthorization<SessionData = S>,
        S: Clone + PartialEq,
    {
        if self.peer.grant.holds(now, generation) {
            return true;
        }
        let identity = &self.peer.identity;
        let Some(grant) = CachedGrant::ask(authorization, now, generation, identity) else {
            return false;
        };
        if grant.session_data() != self.session_data() {
            events.push_usage(|| self.usage());
            self.activity.traffic = Traffic::default();
            self.usage_since = now;
        }
        self.peer.grant = grant;
        true
    }

    /// Returns the traffic since the last usage record; `None` if the peer has not used the tunnel, so that nothing
    /// could pass.
    pub(crate) fn usage(&self) -> Option<Usage<S>>
    where
        S: Clone,
    {
        self.is_in_use().then(|| Usage {
            remote: self.endpoint.remote,
            identity: self.peer.identity,
            session_data: self.session_data().clone(),
            since: self.usage_since,
            traffic: self.activity.traffic,
        })
    }

    /// Handles a message from the tunnel's address. Only authenticated messages change the tunnel's endpoint.
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
                self.activity.heard_at = now;
                self.phase.used();
                self.confirmation.peer_used(now, session);
                if packet.is_empty() {
                    return Ok(Received::Keepalive);
                }
                self.activity.data_at = now;
                self.activity.count_received(packet.len());
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
        self.activity.heard_at = now;
        Ok(Received::Initiation(response))
    }

    /// Answers an initiation, which creates a session that the peer has not confirmed yet.
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

    /// Handles a response to an initiation that is still awaited. `Tunn` keeps its last but one initiation forever: a
    /// delayed response to it would begin a session in which we would send, although the peer made its half long ago
    /// and soon forgets it.
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
                self.activity.heard_at = now;
                self.confirmation.completed(now, session);
                self.outstanding.completed();
                self.handshake_at = now;
                Ok(Received::Response(keepalive))
            }
            refused => Err(DropReason::of_result(&refused)),
        }
    }

    /// A cookie reply proves only that its sender has seen our initiation, so the endpoint does not change.
    fn receive_cookie_reply(
        &mut self,
        reply: Packet<WgCookieReply>,
    ) -> Result<Received, DropReason> {
        match self.tunn.handle_incoming_packet(reply.into()) {
            TunnResult::Done => Ok(Received::CookieReply),
            refused => Err(DropReason::of_result(&refused)),
        }
    }

    /// Encapsulates all waiting packets in order if there is a session. Returns their number.
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
            let bytes = packet.len();
            match self.tunn.encapsulate_with_session(packet) {
                Ok(data) => {
                    sent += 1;
                    self.activity.data_at = now;
                    self.activity.count_sent(bytes);
                    send_to_network.push_back(Transmit::forwarded(
                        self.endpoint,
                        data.into(),
                        false,
                    ));
                }
                Err(packet) => {
                    self.waiting.unpop(packet, self.owner(), totals);
                    break;
                }
            }
        }
        sent
    }

    /// Encapsulates a packet, or queues it until there is a session.
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

    /// Returns true if the peer knows the session, if any, in which `Tunn` would send.
    fn may_send(&self) -> bool {
        self.is_in_use() && self.confirmation.is_newest_used_intact()
    }

    fn owner(&self) -> Owner {
        Owner {
            identity: self.peer.identity,
            half_open: !self.is_in_use(),
        }
    }

    /// Encapsulates a packet, or returns it as an error if it has to wait for a session.
    pub(crate) fn send_at_once(&mut self, now: Instant, packet: Packet) -> Result<Packet, Packet> {
        // Only an incoming message creates a session, and then all waiting packets are sent. So if packets are waiting,
        // there is no session, and this packet must be sent after them.
        if !self.waiting.is_empty() || !self.may_send() {
            return Err(packet);
        }
        self.activity.data_at = now;
        let bytes = packet.len();
        let data = self.tunn.encapsulate_with_session(packet)?;
        self.activity.count_sent(bytes);
        Ok(data.into())
    }

    /// Returns true if the timers have to be checked before a message passes, so that it does not pass in a session that
    /// has ended since the last check.
    pub(crate) fn needs_check(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.checked_at) > CHECK_OUTDATED || self.is_quiet(now)
    }

    /// Returns true if the peer used the tunnel and had a session at the last timer check.
    pub(crate) fn had_session(&self) -> bool {
        let age = self.confirmation.session_age(self.checked_at);
        self.is_in_use() && age.is_some_and(|age| age < REJECT_AFTER_TIME)
    }

    /// Returns true if time has leapt since the last timer check, and the tunnel's session ended, or is about to, in the
    /// leap: the peer had no chance to renew it.
    pub(crate) fn has_outlived_session(&self, now: Instant) -> bool {
        let age = self.confirmation.session_age(now);
        now.saturating_duration_since(self.checked_at) >= LEAP_MIN
            && self.had_session()
            && age.is_some_and(|age| age >= REKEY_MISSED)
    }

    /// Returns true if no data and no handshake message passed for a while, and no packet is waiting.
    pub(crate) fn is_quiet(&self, now: Instant) -> bool {
        !self.is_talking(now, QUIET_AFTER)
            && now.saturating_duration_since(self.handshake_at) >= QUIET_AFTER
            && self.waiting.is_empty()
    }

    /// Returns true if data passed less than `idle_after` ago, in either direction.
    pub(crate) fn is_talking(&self, now: Instant, idle_after: Duration) -> bool {
        now.saturating_duration_since(self.activity.data_at) < idle_after
    }

    /// Returns the end of the cached grant.
    pub(crate) fn grant_end(&self) -> Option<Instant> {
        self.peer.grant.end()
    }

    /// Returns an initiation, unless a handshake begun by us is under way.
    fn begin_handshake(&mut self, now: Instant) -> Option<Packet<WgHandshakeInit>> {
        let initiation = self.tunn.format_handshake_initiation(false)?;
        wipe_stack();
        self.initiated(now, &initiation);
        Some(initiation)
    }

    /// Begins a handshake if packets wait for a session and no handshake is under way in either direction.
    fn initiation_for_waiting(&mut self, now: Instant) -> Option<Packet<WgHandshakeInit>> {
        let is_due = !self.waiting.is_empty()
            && now.saturating_duration_since(self.answered_at) >= REKEY_TIMEOUT;
        is_due.then(|| self.begin_handshake(now)).flatten()
    }

    /// Begins a handshake if the next one is overdue and the client is not silent. If the client began the session, and
    /// its initiations are not being refused unopened, the client has to renew it, and the handshake is overdue later.
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

    /// Returns true if initiations from the tunnel's address were recently refused unopened.
    pub(crate) fn is_under_pressure(&self, now: Instant) -> bool {
        let allowance = self.allowance.as_ref();
        allowance.is_some_and(|allowance| allowance.is_under_pressure(now))
    }

    fn initiated(&mut self, now: Instant, initiation: &WgHandshakeInit) {
        self.outstanding.initiated(now, initiation.sender_idx.get());
        self.handshake_at = now;
    }

    /// Checks the timers. Returns a due message, or an error if the tunnel has expired.
    pub(crate) fn update_timers(&mut self, now: Instant) -> Result<Option<WgKind>, Expired> {
        self.checked_at = now;
        // `ConnectionExpired` is its only error.
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

    /// Drops all waiting packets and returns their number.
    pub(crate) fn discard_waiting(&mut self, totals: &mut WaitingTotals) -> u64 {
        self.waiting.discard(totals)
    }
}
