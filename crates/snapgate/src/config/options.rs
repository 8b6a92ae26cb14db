//! The settings that have a default and depend on no other setting, by the parts of the gateway that use them.

use std::net::SocketAddr;
use std::time::Duration;

use snaptun::{ReplayGuard, ShardConfig};
use udp_shards::{Dispatch, SocketOptions};

use crate::config::forward::{Forward, ScmpErrorLimits};
use crate::logging::LogFormat;

/// Targets of settings; [`Options::default`] has the defaults.
#[derive(Clone, Debug)]
pub(crate) struct Options {
    pub(crate) allow_any_identity: bool,
    pub(crate) forward: Forward<()>,
    pub(crate) dispatch: Dispatch,
    pub(crate) sockets: SocketOptions,
    pub(crate) limits: ShardConfig,
    pub(crate) remembered_identities: usize,
    pub(crate) handshake_timestamp_tolerance: Duration,
    pub(crate) scmp_error_limits: ScmpErrorLimits,
    pub(crate) drain: DrainTimes,
    pub(crate) metrics: Option<SocketAddr>,
    pub(crate) log: String,
    pub(crate) log_format: LogFormat,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            allow_any_identity: false,
            forward: Forward::Scion(()),
            dispatch: Dispatch::Kernel,
            sockets: SocketOptions::default(),
            limits: ShardConfig::default(),
            remembered_identities: ReplayGuard::IDENTITIES_DEFAULT,
            handshake_timestamp_tolerance: ReplayGuard::TIMESTAMP_TOLERANCE_DEFAULT,
            scmp_error_limits: ScmpErrorLimits::default(),
            drain: DrainTimes::default(),
            metrics: None,
            log: "info".to_owned(),
            log_format: LogFormat::Text,
        }
    }
}

/// How long the end may take.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct DrainTimes {
    /// The longest that tunnels are served; zero stops at once.
    pub(crate) timeout: Duration,
    /// A tunnel without data for this time is no longer served.
    pub(crate) idle_after: Duration,
}

impl Default for DrainTimes {
    fn default() -> Self {
        Self {
            // Well below the 30 s that Kubernetes grants, and the 90 s of systemd.
            timeout: Duration::from_secs(20),
            // Longer than the pauses of a conversation.
            idle_after: Duration::from_secs(5),
        }
    }
}
