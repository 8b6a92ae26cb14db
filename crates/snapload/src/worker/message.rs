//! What a worker tells the thread that started it.

use crate::error::LoadError;
use crate::latency::Latencies;
use crate::pacing::Nanos;
use crate::ramp::StepCounts;
use crate::report::{ConnectReport, Counts, ThreadReport};

/// What a worker tells the thread that started it.
pub(crate) enum Message {
    /// All its tunnels are connected.
    Connected(ConnectReport),
    /// It is ready to send.
    Ready,
    /// An interval of the measurement is over.
    Interval {
        /// Counted from 0.
        index: u64,
        /// When it ended, after packets began to be counted.
        end_ns: Nanos,
        counts: Counts,
        latencies: Box<Latencies>,
    },
    /// It sends no more; so many packets have not arrived yet.
    Draining(u64),
    /// The trial is done; what was counted after the last interval.
    Done(Box<Summary>),
}

/// The end of a worker's messages about a trial.
pub(crate) struct Summary {
    /// Whether the packets encrypted beforehand were used up before the time was over.
    pub(crate) used_up: bool,
    /// How long packets were sent and counted.
    pub(crate) sending_ns: Nanos,
    pub(crate) counts: Counts,
    pub(crate) latencies: Latencies,
    pub(crate) handshakes: Latencies,
    /// Of a ramp; otherwise empty.
    pub(crate) steps: Vec<StepCounts>,
    pub(crate) thread: ThreadReport,
}

/// Why a worker stopped before it was done.
pub(crate) enum Halt {
    /// The run is over, or failed elsewhere.
    Stopped,
    /// It failed here.
    Failed(LoadError),
}

impl From<LoadError> for Halt {
    fn from(error: LoadError) -> Self {
        Self::Failed(error)
    }
}
