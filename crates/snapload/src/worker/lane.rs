//! A tunnel with its socket and sequence numbers.

use std::net::{IpAddr, SocketAddr};

use crate::error::ConnectFailure;
use crate::pacing::Nanos;
use crate::sequence::SequenceTracker;
use crate::tunnel::Tunnel;

/// A tunnel with its socket and sequence numbers.
pub(super) struct Lane {
    /// Index of the tunnel within the run.
    pub(super) index: u32,
    pub(super) tunnel: Tunnel,
    /// Index of its socket.
    pub(super) port: usize,
    /// Index of its first socket.
    pub(super) first_port: usize,
    /// Source address on a shared socket.
    pub(super) from_ip: Option<IpAddr>,
    /// Its address as seen by the gateway; `None` before it is connected.
    pub(super) address: Option<SocketAddr>,
    pub(super) sequences: SequenceTracker,
    /// Every packet below this sequence number arrived, was overtaken, or was counted as lost.
    pub(super) returned_below: u64,
    /// Batch in which its last train was queued.
    pub(super) batch: u64,
    pub(super) connecting: Connecting,
    /// Start of its latest session.
    pub(super) session_since_ns: Nanos,
    /// True if it has stopped sending because it will be replaced soon.
    pub(super) is_leaving: bool,
    /// Scheduled time of a commanded handshake that is not complete.
    pub(super) rekeying_since: Option<Nanos>,
}

/// Progress of a tunnel towards its first session.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Connecting {
    NotStarted,
    Started {
        /// Scheduled time.
        since: Nanos,
        /// Number of messages sent from the current port without any answer.
        unanswered: u32,
        /// Probable cause if it never connects.
        failure: ConnectFailure,
    },
    Connected,
}

impl Connecting {
    /// Notes a reply other than a handshake response.
    pub(super) fn note_failure(&mut self, reason: ConnectFailure) {
        if let Self::Started {
            unanswered,
            failure,
            ..
        } = self
        {
            *unanswered = 0;
            *failure = reason;
        }
    }
}

impl Lane {
    pub(super) fn new(index: u32, tunnel: Tunnel, port: usize, from_ip: Option<IpAddr>) -> Self {
        Self {
            index,
            tunnel,
            port,
            first_port: port,
            from_ip,
            address: None,
            sequences: SequenceTracker::default(),
            returned_below: 0,
            batch: 0,
            connecting: Connecting::NotStarted,
            session_since_ns: 0,
            is_leaving: false,
            rekeying_since: None,
        }
    }

    /// Returns true if packets can be sent to it and from it.
    pub(super) fn is_present(&self) -> bool {
        self.address.is_some() && !self.is_leaving
    }
}
