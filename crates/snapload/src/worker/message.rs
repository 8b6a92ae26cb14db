//! Messages of a worker to the thread that started it.

use crate::error::LoadError;
use crate::latency::Latencies;
use crate::pacing::Nanos;
use crate::ramp::StepCounts;
use crate::report::{ConnectReport, Counts, ThreadReport};

/// Message of a worker to the thread that started it.
pub(crate) enum Message {
    /// All tunnels of the worker are connected.
    Connected(ConnectReport),
    /// The worker is ready to send.
    Ready,
    /// An interval of the measurement has ended.
    Interval(IntervalPart),
    /// Sending has ended; this many packets have not arrived.
    Draining(u64),
    /// The trial has ended.
    Done(Box<Summary>),
}

/// Counts of a worker in an interval.
pub(crate) struct IntervalPart {
    /// Index of the interval, counted from 0.
    pub(crate) index: u64,
    /// End of the interval, relative to the start of counting.
    pub(crate) end_ns: Nanos,
    pub(crate) counts: Counts,
    pub(crate) latencies: Box<Latencies>,
}

/// Counts of a worker after its last interval, and the results of its trial.
pub(crate) struct Summary {
    /// True if the pre-encrypted packets were used up early.
    pub(crate) used_up: bool,
    /// Duration of the measurement.
    pub(crate) sending_ns: Nanos,
    pub(crate) counts: Counts,
    pub(crate) latencies: Latencies,
    pub(crate) handshakes: Latencies,
    /// Steps of a ramp; otherwise empty.
    pub(crate) steps: Vec<StepCounts>,
    pub(crate) thread: ThreadReport,
}

/// Reason why a worker stopped early.
pub(crate) enum Halt {
    /// The run is over, or failed elsewhere.
    Stopped,
    /// The worker failed.
    Failed(LoadError),
}

impl From<LoadError> for Halt {
    fn from(error: LoadError) -> Self {
        Self::Failed(error)
    }
}
