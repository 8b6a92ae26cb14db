//! Builder of a gateway inside another program.

use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::Arc;

use crossbeam_channel::Sender;
use snaptun::{ShardConfig, SnapTunAuthorization};
use udp_shards::SocketOptions;

use super::start_error::StartError;
use super::{Attachments, Gateway};
use crate::accounting::{UsageRecord, UsageSink};
use crate::authorization::SessionData;
use crate::config::{
    Authorization, Config, CpuPinning, Dispatch, Forward, WorkerCount, WorkerReason,
};
use crate::identities::Identity;
use crate::keys::PrivateKey;

/// Builder of a [`Gateway`], made by [`Gateway::builder`].
///
/// Defaults are those of `snapgate run`, except for one worker that runs on any CPU.
#[derive(Clone, Debug)]
#[must_use]
pub struct GatewayBuilder {
    config: Config,
    usage_records: Option<Sender<UsageRecord>>,
}

impl Gateway {
    /// Returns a builder for a gateway that listens for tunnels at `listen` (port 0 lets the kernel choose) and
    /// forwards their packets by `forward`. Until an authorization is set, no identity may open a tunnel.
    pub fn builder(
        listen: SocketAddr,
        private_key: PrivateKey,
        forward: Forward,
    ) -> GatewayBuilder {
        let none = Authorization::Identities(Vec::new());
        GatewayBuilder {
            config: Config::new(listen, private_key, none, forward),
            usage_records: None,
        }
    }
}

impl GatewayBuilder {
    /// Authorizes by the rules of the embedding program. The workers ask from their threads, without waiting for each
    /// other: when a tunnel is created, when a grant ends, and when the generation changes. An answer must not block,
    /// and must not have side effects, because identities are asked about before they are proven; see
    /// [`SnapTunAuthorization`]. A panic ends the worker and is reported by [`Gateway::failures`].
    ///
    /// The session data appear in the [usage records](Self::usage_records) of a client's tunnels.
    pub fn authorization(
        mut self,
        authorization: impl SnapTunAuthorization<SessionData = SessionData> + Send + Sync + 'static,
    ) -> Self {
        self.config.authorization = Authorization::Custom(Arc::new(authorization));
        self
    }

    /// Authorizes a list of identities, which [`Gateway::replace_identities`] can replace, and those that are
    /// [registered](Gateway::registry) later.
    ///
    /// An [expiry](Identity::expires) is compared with the system clock when a worker asks for a grant. If the clock is
    /// set forward later, tunnels that exist end as late as they would have before, unless the list changes.
    pub fn identities(mut self, identities: Vec<Identity>) -> Self {
        self.config.authorization = Authorization::Identities(identities);
        self
    }

    /// Authorizes every identity: for tests and measurements.
    pub fn allow_any_identity(mut self) -> Self {
        self.config.authorization = Authorization::AnyIdentity;
        self
    }

    /// Listens for tunnels at another address, too.
    pub fn listen(mut self, address: SocketAddr) -> Self {
        self.config.listen.push(address);
        self
    }

    /// Sets the number of workers (default: 1).
    pub fn workers(mut self, workers: NonZeroUsize) -> Self {
        self.config.workers = WorkerCount {
            count: workers,
            reason: WorkerReason::Configured,
        };
        self
    }

    /// Pins each worker to the CPU of the same index (default: any CPU). Workers without an entry are not pinned.
    pub fn cpus(mut self, cpus: Vec<usize>) -> Self {
        self.config.cpus = CpuPinning::Pinned(cpus);
        self
    }

    /// Sets how datagrams reach the worker of their tunnel (default: [`Dispatch::Kernel`]).
    pub fn dispatch(mut self, dispatch: Dispatch) -> Self {
        self.config.dispatch = dispatch;
        self
    }

    /// Sets the offloads and buffers of the sockets.
    pub fn sockets(mut self, sockets: SocketOptions) -> Self {
        self.config.sockets = sockets;
        self
    }

    /// Sets the limits of tunnels and handshakes (default: that of [`ShardConfig`]). `directory_changes` and
    /// `usage_records` are ignored.
    pub fn limits(mut self, limits: ShardConfig) -> Self {
        self.config.limits = limits;
        self
    }

    /// Keeps a record of the tunnels for the next process in a directory, which must exist. One process at a time can
    /// use it.
    pub fn state_dir(mut self, directory: impl Into<PathBuf>) -> Self {
        self.config.state_dir = Some(directory.into());
        self
    }

    /// Sends a record to `records` when a tunnel ends or its session data change, and one for each tunnel when the
    /// gateway stops.
    ///
    /// Workers do not wait for room: a record that does not fit is lost and counted in `snapgate_usage_records_total`.
    /// Only when the gateway stops, they wait up to 1 s: receive on another thread than the one that stops it, or use a
    /// capacity of at least the number of tunnels. The channel is closed when all workers have ended and other senders
    /// were dropped, those of builders included.
    pub fn usage_records(mut self, records: Sender<UsageRecord>) -> Self {
        self.usage_records = Some(records);
        self
    }

    /// Serves `/metrics`, `/livez` and `/readyz` over HTTP at `address`, to everyone who can reach it. Programs with a
    /// registry register [`Gateway::metrics`] instead.
    pub fn serve_metrics(mut self, address: SocketAddr) -> Self {
        self.config.metrics = Some(address);
        self
    }

    /// Starts the gateway.
    ///
    /// # Errors
    ///
    /// See [`Gateway::start`].
    pub fn start(self) -> Result<Gateway, StartError> {
        let sink = |records| UsageSink { records, log: None };
        let attachments = Attachments {
            usage: self.usage_records.map(sink),
            ..Attachments::default()
        };
        Gateway::start_with(&self.config, attachments)
    }
}
