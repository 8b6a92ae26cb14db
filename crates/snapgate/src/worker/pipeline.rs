//! The packet path of one worker, without its sockets for tunnels. A packet leaves it as an entry of a send queue, as a
//! message to another worker, or as a counted drop.
//!
//! Parts: [`incoming`](super::incoming) (from a tunnel), [`outgoing`](super::outgoing) (from SCION),
//! [`handshakes`](super::handshakes).

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use ana_gotatun::packet::Packet;
use bytes::BytesMut;
use snaptun::{Event, Move, Payload, SnapTunServer, Transmit};
use udp_shards::{Received, SendError};

use crate::accounting::UsageFeed;
use crate::authorization::Authorizer;
use crate::counters::Counters;
use crate::drop_reason::{DropReason, QueueLoss, ReceiveError, RouteError};
use crate::gateway_clock::GatewayClock;
use crate::mailbox::{ActiveTunnels, Message, Postbox};
use crate::session_endings::SessionEndings;
use crate::state::DirectoryFeed;
use crate::worker::dispatch::Owners;
use crate::worker::handshake_queue::HandshakeQueue;
use crate::worker::lanes::{Lanes, Refusal};
use crate::worker::listener_queues::ListenerQueues;
use crate::worker::scmp_limit::ScmpErrorLimiter;
use crate::worker::sockets::Sockets;
use crate::worker::upstream::Upstream;

/// A local host did not take earlier packets.
const UNRESOLVED: DropReason = DropReason::Route(RouteError::Unresolved);

/// Time for which a worker that stops waits for room for its usage records.
const LAST_RECORDS_TIME: Duration = Duration::from_secs(1);

/// Parts of a [`Pipeline`].
pub(crate) struct PipelineParts {
    pub(crate) owners: Owners,
    pub(crate) clock: GatewayClock,
    pub(crate) session_endings: SessionEndings,
    pub(crate) shard: SnapTunServer<Authorizer>,
    pub(crate) upstream: Upstream,
    /// Mailboxes of all workers by index; this worker's own is not used.
    pub(crate) peers: Vec<Postbox>,
    /// Feed of tunnel changes for the state file.
    pub(crate) directory: Option<DirectoryFeed>,
    /// Feed of usage records.
    pub(crate) usage: Option<UsageFeed>,
    pub(crate) listeners: usize,
    /// The listeners have handshake sockets and mixed sockets.
    pub(crate) has_other_sockets: bool,
    pub(crate) lanes: Lanes<Datagram>,
}

/// State of a worker's packet path. Nothing in it is shared.
pub(crate) struct Pipeline {
    pub(super) owners: Owners,
    pub(super) clock: GatewayClock,
    session_endings: SessionEndings,
    /// Number of them that the shard knows of.
    endings_known: u64,
    pub(super) shard: SnapTunServer<Authorizer>,
    pub(super) upstream: Upstream,
    peers: Vec<Postbox>,
    directory: Option<DirectoryFeed>,
    usage: Option<UsageFeed>,
    pub(super) handshakes: HandshakeQueue,
    /// Trains and single datagrams received, plus datagrams handled; the bound of each step.
    pub(super) work: u64,
    /// Datagrams that the shard wants sent; filled and drained within one step.
    pub(super) transmits: VecDeque<Transmit>,
    /// By index of the listener.
    to_tunnels: Vec<ListenerQueues<Datagram>>,
    pub(super) lanes: Lanes<Datagram>,
    /// Buffer of the SCMP error being written, kept for its allocation.
    pub(super) scmp_error: Vec<u8>,
    /// Limits of SCMP errors into tunnels; only if packets go to SCION.
    pub(super) scmp_errors: Option<ScmpErrorLimiter>,
    pub(super) counters: Counters,
    /// True in the last turn, after [`Message::Stop`].
    pub(super) stopping: bool,
}

/// A datagram in a send queue.
pub(crate) struct Datagram {
    packet: Packet,
    payload: Payload,
}

impl Datagram {
    /// A received packet.
    fn forwarded(packet: Packet) -> Self {
        Self {
            packet,
            payload: Payload::Forwarded,
        }
    }
}

impl AsRef<[u8]> for Datagram {
    fn as_ref(&self) -> &[u8] {
        self.packet.as_ref()
    }
}

/// Direction in which a datagram leaves, for the counters.
#[derive(Clone, Copy)]
enum Side {
    Tunnels,
    Upstream,
}

impl Pipeline {
    pub(crate) fn new(parts: PipelineParts) -> Self {
        let queues = || ListenerQueues::new(parts.has_other_sockets);
        let scmp_errors = parts
            .upstream
            .scion()
            .map(|scion| ScmpErrorLimiter::new(parts.clock.now(), scion.scmp_error_limits));
        Self {
            owners: parts.owners,
            clock: parts.clock,
            endings_known: parts.session_endings.count(),
            session_endings: parts.session_endings,
            shard: parts.shard,
            upstream: parts.upstream,
            peers: parts.peers,
            directory: parts.directory,
            usage: parts.usage,
            handshakes: HandshakeQueue::default(),
            work: 0,
            transmits: VecDeque::new(),
            to_tunnels: (0..parts.listeners).map(|_| queues()).collect(),
            lanes: parts.lanes,
            scmp_error: Vec::new(),
            scmp_errors,
            counters: Counters::default(),
            stopping: false,
        }
    }

    /// Begins a turn, in which authorization changes and the end of all sessions take effect.
    pub(super) fn start_turn(&mut self) {
        self.shard.start_batch();
        let endings = self.session_endings.count();
        if endings != self.endings_known {
            self.endings_known = endings;
            self.shard.end_sessions();
        }
        self.counters.turns += 1;
    }

    /// Splits a train into its datagrams; a truncated one is dropped.
    pub(super) fn take_apart(&mut self, train: Received) -> impl Iterator<Item = BytesMut> + use<> {
        let whole = train.datagram_count() - usize::from(train.truncated);
        if train.truncated {
            self.drop_packet(ReceiveError::Truncated.into());
        }
        train.into_datagrams().take(whole)
    }

    /// Handles a packet that another worker handed over, or a command.
    pub(super) fn take_over(&mut self, now: Instant, message: Message) {
        self.counters.taken_packets += message.packets();
        self.work += 1;
        match message {
            Message::Incoming { listener, train } => {
                self.handle_incoming_train(now, listener, train);
            }
            Message::Outgoing { to, packet } => {
                self.handle_outgoing(now, to, packet);
            }
            Message::Hairpin { to, packet } => self.handle_hairpin(now, to, packet),
            Message::Moved(moved) => self.shard.end_older_tunnels(&moved),
            Message::Drain { idle_after, answer } => {
                self.shard.drain();
                let active = ActiveTunnels {
                    worker: self.owners.me,
                    tunnels: self.shard.talking_tunnels(now, idle_after),
                };
                // There is room for one answer of each worker; the receiver may be gone.
                let _ = answer.try_send(active);
            }
            Message::Remember(tunnels) => {
                for (remote, identity) in tunnels {
                    // A tunnel that has ended since is ignored.
                    self.shard.remember(now, remote, identity);
                }
            }
            Message::Stop => self.stopping = true,
        }
    }

    /// Hands a message to the worker that owns its tunnel. Returns false if its mailbox is full or the worker stopped.
    pub(super) fn hand_over(&mut self, owner: usize, message: Message) -> bool {
        let packets = message.packets();
        let given = self.peers[owner].put(message).is_ok();
        if given {
            self.counters.given_packets += packets;
        } else {
            self.drop_packets(DropReason::Queue(QueueLoss::MailboxFull), packets);
        }
        given
    }

    /// Handles the shard's events. The other workers learn which identities use a new tunnel, and end older ones; if a
    /// mailbox is full, timers end them. Usage records are sent on. Changes of the directory are sent while the feed has
    /// room.
    pub(super) fn take_events(&mut self) {
        loop {
            let feed = self.directory.as_ref().filter(|feed| feed.has_room());
            match self.shard.poll_event(feed.is_some()) {
                None => return,
                Some(Event::Moved(moved)) => self.tell_move(&moved),
                Some(Event::Usage(usage)) => {
                    let queued = self.usage.as_ref().is_some_and(|feed| feed.put(usage));
                    self.counters.usage_records_queued += u64::from(queued);
                    self.counters.usage_records_lost += u64::from(!queued);
                }
                Some(Event::Directory(change)) => {
                    if let Some(feed) = feed {
                        feed.tell(change);
                    }
                }
            }
        }
    }

    /// Sends the usage records of all tunnels, at the end of the worker.
    pub(super) fn report_open_tunnels(&mut self) {
        // Of tunnels that ended in the last turn.
        self.take_events();
        if let Some(feed) = &self.usage {
            let deadline = Instant::now() + LAST_RECORDS_TIME;
            let (queued, lost) = feed.put_last(self.shard.usage(), deadline);
            self.counters.usage_records_queued += queued;
            self.counters.usage_records_lost += lost;
        }
    }

    fn tell_move(&mut self, moved: &Move) {
        for peer in 0..self.peers.len() {
            if peer != self.owners.me {
                self.hand_over(peer, Message::Moved(moved.clone()));
            }
        }
    }

    /// Wakes the workers whose mailboxes got messages.
    pub(super) fn wake_peers(&mut self) -> io::Result<()> {
        self.peers.iter_mut().try_for_each(Postbox::wake)
    }

    /// Returns the time at which [`Pipeline::timers`] is due.
    pub(super) fn next_timer(&self) -> Instant {
        self.shard.next_timer()
    }

    /// Runs the slice of the timers that is due.
    pub(super) fn timers(&mut self, now: Instant) {
        self.shard.update_timers(now, &mut self.transmits);
        self.queue_transmits();
    }

    /// Moves the shard's datagrams to the queues of the listener that their tunnel uses.
    pub(super) fn queue_transmits(&mut self) {
        while let Some(transmit) = self.transmits.pop_front() {
            let to = transmit.to;
            let queues = &mut self.to_tunnels[usize::from(to.via.listener)];
            let in_use = || self.shard.has_tunnel_in_use(to.remote);
            let queue = queues.queue_for(&transmit, in_use);
            let datagram = Datagram {
                packet: transmit.packet,
                payload: transmit.payload,
            };
            self.counters.queued_packets += received_packets(datagram.payload);
            if let Err(refused) = queue.push(to.remote, to.via.local_ip, datagram) {
                let full = DropReason::Queue(QueueLoss::SendQueueFull);
                count_fate(&mut self.counters, Side::Tunnels, &refused, Err(full));
            }
        }
    }

    /// Queues a packet for a router, which has the lane.
    pub(super) fn queue_to_router(&mut self, lane: usize, router: SocketAddr, packet: Packet) {
        self.counters.queued_packets += 1;
        if let Err(refused) = self.lanes.push(lane, router, Datagram::forwarded(packet)) {
            let full = DropReason::Queue(QueueLoss::SendQueueFull);
            count_fate(&mut self.counters, Side::Upstream, &refused, Err(full));
        }
    }

    /// Queues a packet for a local host.
    pub(super) fn queue_to_host(&mut self, now: Instant, host: SocketAddr, packet: Packet) {
        let counters = &mut self.counters;
        counters.queued_packets += 1;
        let datagram = Datagram::forwarded(packet);
        let pushed = self.lanes.push_to_host(now, host, datagram, &mut |lost| {
            count_fate(counters, Side::Upstream, &lost, Err(UNRESOLVED));
        });
        if let Err((refusal, refused)) = pushed {
            let reason = match refusal {
                Refusal::QueueFull => DropReason::Queue(QueueLoss::SendQueueFull),
                Refusal::Unresolved => UNRESOLVED,
            };
            count_fate(&mut self.counters, Side::Upstream, &refused, Err(reason));
        }
    }

    /// Sends all queued datagrams.
    pub(super) fn flush(&mut self, now: Instant, sockets: &mut Sockets) -> io::Result<()> {
        let counters = &mut self.counters;
        for (listener, queues) in self.to_tunnels.iter_mut().enumerate() {
            sockets.flush_listener(listener, queues, now, &mut |datagram: Datagram, result| {
                count_sent(counters, Side::Tunnels, &datagram, result);
            })?;
        }
        self.lanes.flush(now, &mut |datagram, result| {
            count_sent(counters, Side::Upstream, &datagram, result);
        })
    }

    /// Drops what waited for too long for a socket, gives up local hosts that take nothing, and updates the gauges of
    /// the lanes.
    pub(super) fn check_lanes(&mut self, now: Instant) {
        let counters = &mut self.counters;
        self.lanes.expire(now, &mut |datagram, result| {
            count_sent(counters, Side::Upstream, &datagram, result);
        });
        self.lanes.give_up_stuck_hosts(now, &mut |lost| {
            count_fate(counters, Side::Upstream, &lost, Err(UNRESOLVED));
        });
        let listeners = self.to_tunnels.iter_mut().flat_map(ListenerQueues::all);
        let without_gso: usize = listeners
            .map(|queue| queue.destinations_without_gso(now))
            .sum();
        let counters = &mut self.counters;
        counters.destinations_without_gso =
            (without_gso + self.lanes.destinations_without_gso(now)) as u64;
        counters.unresolved_hosts = self.lanes.unresolved_hosts(now) as u64;
        counters.kernel_drops_upstream = self.lanes.kernel_drops();
    }

    pub(super) fn drop_packet(&mut self, reason: DropReason) {
        self.drop_packets(reason, 1);
    }

    pub(super) fn drop_packets(&mut self, reason: DropReason, packets: u64) {
        self.counters.drop_packets(reason, packets);
    }

    /// Updates the gauges of the shard, the handshake queue and the lanes.
    pub(super) fn update_gauges(&mut self) {
        let counters = &mut self.counters;
        counters.set_shard(self.shard.counters());
        counters.tunnels = self.shard.tunnel_count() as u64;
        counters.remembered_tunnels = self.shard.remembered_tunnels() as u64;
        counters.lapsed_tunnels = self.shard.lapsed_tunnels() as u64;
        counters.half_open_tunnels = self.shard.half_open_tunnels() as u64;
        counters.waiting_packets = self.shard.waiting_packets() as u64;
        counters.waiting_handshakes = self.handshakes.len() as u64;
        counters.send_lanes = self.lanes.len() as u64;
        counters.send_lanes_failed = self.lanes.failed();
    }

    /// Returns the final counters; packets that still wait are lost.
    pub(super) fn into_counters(mut self) -> Counters {
        self.update_gauges();
        let lost = self.counters.in_flight();
        self.drop_packets(DropReason::Queue(QueueLoss::Stopped), lost);
        self.counters.waiting_handshakes = 0;
        self.counters.waiting_packets = 0;
        self.counters.queued_packets = 0;
        self.counters
    }
}

/// Returns the number of received packets in a datagram: 1 if it was forwarded, 0 if the gateway made it.
fn received_packets(payload: Payload) -> u64 {
    match payload {
        Payload::Forwarded => 1,
        Payload::Protocol => 0,
    }
}

fn count_sent(
    counters: &mut Counters,
    side: Side,
    datagram: &Datagram,
    result: Result<(), SendError>,
) {
    count_fate(counters, side, datagram, result.map_err(DropReason::Send));
}

/// Counts the fate of a datagram that was, or should have been, in a send queue.
fn count_fate(
    counters: &mut Counters,
    side: Side,
    datagram: &Datagram,
    fate: Result<(), DropReason>,
) {
    counters.queued_packets -= received_packets(datagram.payload);
    let bytes = datagram.packet.len() as u64;
    match (datagram.payload, fate) {
        (Payload::Forwarded, Ok(())) => match side {
            Side::Tunnels => {
                counters.sent_outgoing_packets += 1;
                counters.sent_outgoing_bytes += bytes;
            }
            Side::Upstream => {
                counters.sent_incoming_packets += 1;
                counters.sent_incoming_bytes += bytes;
            }
        },
        (Payload::Forwarded, Err(reason)) => counters.drop_packets(reason, 1),
        (Payload::Protocol, Ok(())) => counters.originated_sent += 1,
        (Payload::Protocol, Err(_)) => counters.originated_lost += 1,
    }
}
