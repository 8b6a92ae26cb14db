//! A tunnel and its place at a socket.

use std::net::{IpAddr, SocketAddr};

use crate::error::ConnectFailure;
use crate::pacing::Nanos;
use crate::sequence::SequenceTracker;
use crate::tunnel::Tunnel;

/// A tunnel and its place at a socket.
pub(super) struct Lane {
    /// The tunnel's index within the run.
    pub(super) index: u32,
    pub(super) tunnel: Tunnel,
    /// The socket it uses.
    pub(super) port: usize,
    /// The socket it began with.
    pub(super) first_port: usize,
    /// The address it sends from, on a shared socket.
    pub(super) from_ip: Option<IpAddr>,
    /// Its address as the gateway saw it; `None` before it is connected.
    pub(super) address: Option<SocketAddr>,
    pub(super) sequences: SequenceTracker,
    /// Every packet below this sequence number arrived, was overtaken, or was written off.
    pub(super) returned_below: u64,
    /// The batch in which its last train was queued.
    pub(super) batch: u64,
    pub(super) connecting: Connecting,
    /// When its latest session began.
    pub(super) session_since_ns: Nanos,
    /// It sends no more, for it will be replaced soon.
    pub(super) is_leaving: bool,
    /// When it was to begin another handshake, which is not done.
    pub(super) rekeying_since: Option<Nanos>,
}

/// Where a tunnel is on its way to its first session.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Connecting {
    NotStarted,
    Started {
        /// When it was to begin.
        since: Nanos,
        /// Messages sent from the current port that got no answer at all.
        unanswered: u32,
        /// What it looks like so far.
        failure: ConnectFailure,
    },
    Connected,
}

impl Connecting {
    /// Notes what came instead of a handshake response.
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

    /// Whether packets can be sent to it and from it.
    pub(super) fn is_present(&self) -> bool {
        self.address.is_some() && !self.is_leaving
    }
}
