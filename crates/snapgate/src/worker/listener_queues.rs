//! The send queues of one listen address.
//!
//! Datagrams that wait for an answer to ARP fill the send buffer of their socket. So those for addresses that may not
//! exist, or no longer, leave by other sockets than those for clients that are there.

use snaptun::{Payload, Transmit};
use udp_shards::SendQueue;

use crate::worker::polled_socket::QUEUED_TIME_MAX;

/// Maximum number of datagrams and bytes for clients while the socket is not writable.
const CLIENTS: (usize, usize) = (8192, 16 << 20);

/// Maximum number of datagrams and bytes for addresses without a tunnel in use: what a worker answers in half a second
/// at most.
const NEWCOMERS: (usize, usize) = (4096, 1 << 20);

/// Maximum number of datagrams and bytes for silent clients.
const SILENT_CLIENTS: (usize, usize) = (4096, 4 << 20);

/// Queues of a listener.
pub(super) struct ListenerQueues<B> {
    /// For the data socket.
    pub(super) clients: SendQueue<B>,
    /// With kernel dispatch; with user dispatch everything leaves by the data socket.
    pub(super) others: Option<OtherQueues<B>>,
}

/// Queues for addresses that may not exist.
pub(super) struct OtherQueues<B> {
    /// Handshake messages and cookie replies to addresses without a tunnel in use, which may be spoofed; for the
    /// handshake socket.
    pub(super) newcomers: SendQueue<B>,
    /// Packets for clients that have not sent anything for some time; for the mixed socket.
    pub(super) silent_clients: SendQueue<B>,
}

impl<B: AsRef<[u8]>> ListenerQueues<B> {
    pub(super) fn new(has_other_sockets: bool) -> Self {
        let queue = |(datagrams, bytes)| {
            SendQueue::with_limits(datagrams, bytes).with_max_age(QUEUED_TIME_MAX)
        };
        Self {
            clients: queue(CLIENTS),
            others: has_other_sockets.then(|| OtherQueues {
                newcomers: queue(NEWCOMERS),
                silent_clients: queue(SILENT_CLIENTS),
            }),
        }
    }

    /// Returns the queue for a datagram. `has_tunnel_in_use` tells if its address has a tunnel that its client has used.
    pub(super) fn queue_for(
        &mut self,
        transmit: &Transmit,
        has_tunnel_in_use: impl FnOnce() -> bool,
    ) -> &mut SendQueue<B> {
        let Some(others) = &mut self.others else {
            return &mut self.clients;
        };
        match transmit.payload {
            Payload::Forwarded if transmit.to_silent_peer => &mut others.silent_clients,
            Payload::Protocol if !has_tunnel_in_use() => &mut others.newcomers,
            Payload::Forwarded | Payload::Protocol => &mut self.clients,
        }
    }

    /// Returns all queues.
    pub(super) fn all(&mut self) -> impl Iterator<Item = &mut SendQueue<B>> {
        let others = self.others.iter_mut();
        let others = others.flat_map(|others| [&mut others.newcomers, &mut others.silent_clients]);
        [&mut self.clients].into_iter().chain(others)
    }
}
