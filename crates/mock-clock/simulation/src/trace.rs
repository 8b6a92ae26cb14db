//! Trace of the events: a digest of all, the last ones, and all of them for a watcher.

use std::collections::VecDeque;
use std::fmt;
use std::hash::{DefaultHasher, Hash, Hasher as _};
use std::net::SocketAddr;
use std::time::Duration;

use crate::gateway::Fate;
use crate::scenario::Disturbance;

/// Number of events shown when a seed fails.
const LAST: usize = 40;

/// Traced event. It contains no keys or nonces, so it is the same in every run.
#[derive(Clone, Debug, Hash)]
pub(crate) enum Happening {
    /// The gateway received a datagram.
    Incoming {
        from: SocketAddr,
        message: Message,
        fate: Fate,
    },
    /// The gateway received a packet from SCION.
    Outgoing {
        to: SocketAddr,
        packet: usize,
        fate: Fate,
    },
    /// The gateway sent a datagram.
    Sent { to: SocketAddr, message: Message },
    /// A client sent a datagram.
    ClientSent { client: usize, message: Message },
    /// A client received a datagram.
    ClientReceived {
        client: usize,
        message: Message,
        meant: &'static str,
    },
    /// A datagram was lost, or had no receiver.
    Lost { message: Message },
    /// A fault or change began.
    Disturbed {
        disturbance: Disturbance,
        whom: Option<usize>,
    },
    /// The gateway restarted.
    GatewayRestarted,
    /// An identity was authorized.
    Granted { identity: usize },
    /// A client got this address.
    Moved { client: usize, to: SocketAddr },
    /// A shard was told that an identity uses a newer tunnel.
    ToldOfMove { shard: usize },
    /// A fault-free period began.
    FaultFreeBegan,
    /// A fault-free period ended, with the number of clients served in time.
    FaultFreeEnded { served: usize },
    /// Counters of a shard.
    Counted { counters: String },
}

/// Traced properties of a datagram.
#[derive(Clone, Copy, Hash)]
pub(crate) struct Message {
    kind: u8,
    bytes: usize,
}

impl Message {
    pub(crate) fn of(datagram: &[u8]) -> Self {
        Message {
            kind: datagram.first().copied().unwrap_or_default(),
            bytes: datagram.len(),
        }
    }
}

impl fmt::Debug for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Message { kind, bytes } = self;
        match kind {
            1 => f.write_str("initiation"),
            2 => f.write_str("response"),
            3 => f.write_str("cookie reply"),
            4 if *bytes == 32 => f.write_str("keepalive"),
            4 => write!(f, "data ({bytes} bytes)"),
            _ => write!(f, "garbage ({bytes} bytes)"),
        }
    }
}

pub(crate) struct Trace<'w> {
    step: u64,
    digest: DefaultHasher,
    last: VecDeque<Line>,
    watch: Option<&'w mut dyn FnMut(&Line)>,
}

/// Line of a trace.
pub struct Line {
    step: u64,
    at: Duration,
    happening: Happening,
}

impl<'w> Trace<'w> {
    pub(crate) fn new(watch: Option<&'w mut dyn FnMut(&Line)>) -> Self {
        Trace {
            step: 0,
            digest: DefaultHasher::new(),
            last: VecDeque::with_capacity(LAST),
            watch,
        }
    }

    /// Advances to the next step.
    pub(crate) fn step(&mut self) {
        self.step += 1;
    }

    pub(crate) fn steps(&self) -> u64 {
        self.step
    }

    pub(crate) fn note(&mut self, at: Duration, happening: Happening) {
        let line = Line {
            step: self.step,
            at,
            happening,
        };
        (line.step, line.at, &line.happening).hash(&mut self.digest);
        if let Some(watch) = &mut self.watch {
            watch(&line);
        }
        if self.last.len() == LAST {
            self.last.pop_front();
        }
        self.last.push_back(line);
    }

    pub(crate) fn digest(&self) -> u64 {
        self.digest.finish()
    }

    /// Returns the last events.
    pub(crate) fn last(&self) -> Vec<String> {
        self.last.iter().map(Line::to_string).collect()
    }
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let at = self.at.as_secs_f64();
        write!(f, "{:>8} {at:>9.3} s  {:?}", self.step, self.happening)
    }
}

impl fmt::Debug for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
