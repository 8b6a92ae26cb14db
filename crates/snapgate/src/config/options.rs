//! Values of the settings that have a default and depend on no other setting, by the part of the gateway that uses
//! them.

use std::net::SocketAddr;
use std::time::Duration;

use snapgate_control::registry::RegistrySettings;
use snapgate_control::token::TokenRules;
use snaptun::{ReplayGuard, ShardConfig};
use udp_shards::{Dispatch, InterfaceName, SocketOptions};

use crate::config::forward::{Forward, ScmpErrorLimits};
use crate::logging::LogFormat;

/// Values of settings; [`Options::default`] has the defaults.
#[derive(Clone, Debug)]
pub(crate) struct Options {
    pub(crate) allow_any_identity: bool,
    pub(crate) behind_proxy: bool,
    pub(crate) token_rules: TokenRules,
    pub(crate) endhost_api_token: bool,
    /// Limits; the file is separate.
    pub(crate) registry: RegistrySettings,
    pub(crate) forward: Forward<()>,
    pub(crate) dispatch: Dispatch,
    /// Of all addresses; the interfaces are separate.
    pub(crate) sockets: SocketOptions,
    pub(crate) listen_interface: Option<InterfaceName>,
    pub(crate) internal_interface: Option<InterfaceName>,
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
            behind_proxy: false,
            token_rules: TokenRules::default(),
            endhost_api_token: false,
            registry: RegistrySettings::default(),
            forward: Forward::Scion(()),
            dispatch: Dispatch::Kernel,
            sockets: SocketOptions::default(),
            listen_interface: None,
            internal_interface: None,
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

/// Durations of a drain.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct DrainTimes {
    /// Maximum time for which tunnels are served; zero stops at once.
    pub(crate) timeout: Duration,
    /// Time without data in any tunnel after which the gateway stops.
    pub(crate) idle_after: Duration,
}

impl Default for DrainTimes {
    fn default() -> Self {
        Self {
            // Below the stop timeouts of Kubernetes (30 s) and systemd (90 s).
            timeout: Duration::from_secs(20),
            // Longer than the pauses in a conversation.
            idle_after: Duration::from_secs(5),
        }
    }
}
