//! Load for SNAPtun gateways: packets through many tunnels at a given rate, and what became of
//! them.
//!
//! [`run`] connects the tunnels of a [`LoadConfig`], sends packets, and answers with a [`Report`]:
//! rates, loss, duplicates, reordering, damage and latencies. Packets take one of three ways
//! ([`Direction`]): into a tunnel and back out of it, from tunnels to a SCION router, or from a
//! router to tunnels; the generator is the router as well. [`with_tunnels`] keeps the tunnels
//! connected for one [`Trial`] after another.
//!
//! What makes the numbers trustworthy:
//!  - In the open loop ([`Rate::PerSecond`]) packets are due at scheduled times, whatever arrives,
//!    and latencies are measured from these. A gateway that stalls cannot hide it (no coordinated
//!    omission).
//!  - Every packet carries a stamp and is compared as a whole where it arrives.
//!  - A result that the generator limited says so ([`Report::limited_by_generator`]).
//!
//! [`scenario`] plays several loads at a time, and attackers, with a verdict.
//!
//! Modules, in the order in which a packet meets them: `pacing` (when), `inner_packet` and `stamp`
//! (what), `tunnel` (encryption), `worker` (the thread with its sockets), `sequence` and `latency`
//! (what arrived), `report`; `generator` directs the threads.

mod config;
mod error;
mod generator;
mod identity;
mod inner_packet;
mod latency;
mod pacing;
mod plan;
#[cfg(feature = "plot")]
mod plot;
mod ramp;
mod recording;
mod report;
pub mod scenario;
mod search;
mod sequence;
mod size_order;
mod stamp;
mod trial;
mod tunnel;
mod values;
mod worker;

pub use config::{
    Cpus, DEFAULT_ISD_AS, DEFAULT_REMOTE_ISD_AS, DEFAULT_WINDOW, Direction, DirectionKind,
    LoadConfig, MAX_PACKET_BYTES, MAX_TRAIN, MAX_TUNNELS, PacketSizes, Presence, Rate, Shares,
    StopSwitch,
};
pub use error::{ConfigError, ConnectFailure, LoadError};
pub use generator::{Generator, run, with_tunnels};
pub use identity::{Identities, IdentityError, key_from_base64, key_to_base64};
pub use latency::{LatencyHistogram, LatencySummary, NotAHistogram};
#[cfg(feature = "plot")]
pub use plot::{MAX_PLOTTED, PlotError, plot};
pub use ramp::Step;
pub use recording::{RecordedSummary, Recording, RecordingError};
pub use report::{Checks, ConnectReport, Counts, Interval, Progress, Report, ThreadReport};
pub use search::{
    FoundRate, SearchConfig, SearchProgress, SearchReport, TrialPlan, TrialResult, search,
};
pub use trial::Trial;
pub use values::{parse_pps, parse_time, percent_of_share, share_of_percent};
