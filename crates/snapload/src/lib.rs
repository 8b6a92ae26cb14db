//! Load for SNAPtun gateways: packets through many tunnels at a given rate, and what became of
//! them.
//!
//! [`run`] connects the tunnels of a [`LoadConfig`], sends packets that the gateway returns
//! (echoes, or forwards back into their own tunnel), and answers with a [`Report`]: rates, loss,
//! duplicates, reordering, damage and round-trip times.
//!
//! What makes the numbers trustworthy:
//!  - In the open loop ([`Rate::PerSecond`]) packets are due at scheduled times, whatever comes
//!    back, and round trips are measured from these. A gateway that stalls cannot hide it
//!    (no coordinated omission).
//!  - Every packet carries a stamp and is compared as a whole when it comes back.
//!  - A result that the generator limited says so ([`Report::limited_by_generator`]).
//!
//! Modules, in the order in which a packet meets them: `pacing` (when), `inner_packet` and `stamp`
//! (what), `tunnel` (encryption), `worker` (the thread with its sockets), `sequence` and `latency`
//! (what came back), `report`.

mod config;
mod error;
mod identity;
mod inner_packet;
mod latency;
mod pacing;
mod plan;
#[cfg(feature = "plot")]
mod plot;
mod recording;
mod report;
mod run;
mod sequence;
mod stamp;
mod tunnel;
mod worker;

pub use config::{
    Cpus, DEFAULT_ISD_AS, DEFAULT_WINDOW, LoadConfig, MAX_PACKET_BYTES, MAX_TRAIN, Rate,
};
pub use error::{ConfigError, ConnectFailure, LoadError};
pub use identity::{Identities, IdentityError, key_from_base64, key_to_base64};
pub use latency::{LatencyHistogram, LatencySummary, NotAHistogram};
#[cfg(feature = "plot")]
pub use plot::{MAX_PLOTTED, PlotError, plot};
pub use recording::{RecordedSummary, Recording, RecordingError};
pub use report::{Checks, ConnectReport, Counts, Interval, Progress, Report, ThreadReport};
pub use run::run;
