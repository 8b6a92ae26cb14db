//! Load generator for SNAPtun gateways: sends packets through many tunnels at a given rate and counts what arrives.
//!
//! [`run`] connects the tunnels of a [`LoadConfig`], sends packets, and returns a [`Report`]: rates, loss, duplicates,
//! reordering, corruption and latencies. Packets take one of three directions ([`Direction`]): into a tunnel and back
//! out of it, from tunnels to a SCION router, or from a router to tunnels; the generator plays the router.
//! [`with_tunnels`] keeps the tunnels connected for any number of [`Trial`]s.
//!
//! What makes the results reliable:
//!  - In the open loop ([`Rate::PerSecond`]) packets are due at scheduled times, and latencies count from these. A
//!    stall of the gateway is fully measured (no coordinated omission).
//!  - Every packet carries a stamp and is compared byte for byte where it arrives.
//!  - A result that the generator limited is marked ([`Report::limited_by_generator`]).
//!
//! [`scenario`] runs several loads and attackers at the same time, with a verdict.
//!
//! Modules in the order of a packet's path: `pacing` (schedule), `inner_packet` and `stamp` (contents), `tunnel`
//! (encryption), `worker` (thread and sockets), `sequence` and `latency` (arrival), `report`; `generator` controls the
//! threads.

mod collected;
mod config;
mod error;
mod generator;
mod identity;
mod inner_packet;
mod input_file;
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
pub use identity::{Identities, key_from_base64, key_to_base64};
pub use input_file::FileError;
pub use latency::{LatencyHistogram, LatencySummary, NotAHistogram};
#[cfg(feature = "plot")]
pub use plot::{MAX_PLOTTED, PlotError, plot};
pub use ramp::Step;
pub use recording::{RecordedSummary, Recording};
pub use report::{Checks, ConnectReport, Counts, Interval, Progress, Report, ThreadReport};
pub use search::{
    FoundRate, SearchConfig, SearchProgress, SearchReport, TrialPlan, TrialResult, search,
};
pub use trial::Trial;
pub use values::{parse_pps, parse_time, percent_of_share, share_of_percent};
