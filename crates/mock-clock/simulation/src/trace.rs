//! What happened, in order: the digest of it, the end of it, and all of it for whoever watches.

use std::collections::VecDeque;
use std::fmt;
use std::hash::{DefaultHasher, Hash, Hasher as _};
use std::net::SocketAddr;
use std::time::Duration;

use crate::gateway::Fate;
use crate::scenario::Disturbance;

/// So many happenings are shown when a seed fails.
const LAST: usize = 40;

/// Something that happened. Nothing here depends on a key or a nonce, so it is the same in every run.
#[derive(Clone, Debug, Hash)]
pub(crate) enum Happening {
    /// The gateway took a datagram in.
    Incoming {
        from: SocketAddr,
        message: Message,
        fate: Fate,
    },
    /// The gateway was given a packet from SCION.
    Outgoing {
        to: SocketAddr,
        packet: usize,
        fate: Fate,
    },
    /// The gateway sent a datagram.
    Sent { to: SocketAddr, message: Message },
    /// A client sent one.
    ClientSent { client: usize, message: Message },
    /// A client took a datagram in.
    ClientReceived {
        client: usize,
        message: Message,
        meant: &'static str,
    },
    /// A datagram was lost, or nobody was there to receive it.
    Lost { message: Message },
    /// Something went wrong, or changed.
    Disturbed {
        disturbance: Disturbance,
        whom: Option<usize>,
    },
    /// Another process is the gateway from now on.
    GatewayRestarted,
    /// An identity may have a tunnel from now on.
    Granted { identity: usize },
    /// A client has this address from now on.
    Moved { client: usize, to: SocketAddr },
    /// A shard was told that an identity uses a newer tunnel.
    ToldOfMove { shard: usize },
    /// From now on nothing goes wrong but for floods.
    FaultFreeBegan,
    /// End of the fault-free period, with the number of clients served in time.
    FaultFreeEnded { served: usize },
    /// What a shard had counted.
    Counted { counters: String },
}

/// What can be told of a datagram.
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

/// A line of a trace.
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

    /// Something else happens.
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

    /// The last that happened.
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
