//! Status of the gateway, for the metrics and the HTTP server.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use jiff::Timestamp;

use crate::accounting::LogStatus;
use crate::authorization::Authorizer;
use crate::control_plane::ControlPlaneMetrics;
use crate::pinning::PinnedCpus;
use crate::state::StateStatus;

/// Status of the gateway as a whole.
pub(crate) struct Status {
    started: Timestamp,
    draining: AtomicBool,
    authorization: Arc<Authorizer>,
    clock_is_trusted: Arc<AtomicBool>,
    state: Option<Arc<StateStatus>>,
    accounting_log: Option<Arc<LogStatus>>,
    pinned_cpus: Arc<PinnedCpus>,
    /// Set once the control plane serves.
    control_plane: OnceLock<ControlPlaneMetrics>,
    awaits_control_plane: AtomicBool,
}

impl Status {
    pub(crate) fn new(
        authorization: Arc<Authorizer>,
        clock_is_trusted: Arc<AtomicBool>,
        state: Option<Arc<StateStatus>>,
        accounting_log: Option<Arc<LogStatus>>,
        pinned_cpus: PinnedCpus,
    ) -> Self {
        Self {
            started: Timestamp::now(),
            draining: AtomicBool::new(false),
            authorization,
            clock_is_trusted,
            state,
            accounting_log,
            pinned_cpus: Arc::new(pinned_cpus),
            control_plane: OnceLock::new(),
            awaits_control_plane: AtomicBool::new(false),
        }
    }

    /// Returns the start time of the gateway.
    pub(crate) fn started(&self) -> Timestamp {
        self.started
    }

    /// Records that no new tunnels are created.
    pub(crate) fn set_draining(&self) {
        self.draining.store(true, Ordering::Relaxed);
    }

    pub(crate) fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Relaxed)
    }

    /// Returns the authorization.
    pub(crate) fn authorization(&self) -> &Authorizer {
        &self.authorization
    }

    /// Returns true if the system clock could be trusted at the last reading.
    pub(crate) fn is_clock_trusted(&self) -> bool {
        self.clock_is_trusted.load(Ordering::Relaxed)
    }

    /// Returns the CPU of each worker.
    pub(crate) fn pinned_cpus(&self) -> &Arc<PinnedCpus> {
        &self.pinned_cpus
    }

    /// Returns the counts of the state file, if there is one.
    pub(crate) fn state(&self) -> Option<&Arc<StateStatus>> {
        self.state.as_ref()
    }

    /// Records that the gateway is not ready before a control plane serves.
    pub(crate) fn await_control_plane(&self) {
        self.awaits_control_plane.store(true, Ordering::Relaxed);
    }

    /// Records that the control plane serves.
    pub(crate) fn set_control_plane(&self, metrics: ControlPlaneMetrics) {
        // It is started once.
        let _ = self.control_plane.set(metrics);
        self.awaits_control_plane.store(false, Ordering::Relaxed);
    }

    /// Returns true until the control plane serves, if there will be one.
    pub(crate) fn is_awaiting_control_plane(&self) -> bool {
        self.awaits_control_plane.load(Ordering::Relaxed)
    }

    /// Returns the metrics of the control plane, if it serves.
    pub(crate) fn control_plane(&self) -> Option<&ControlPlaneMetrics> {
        self.control_plane.get()
    }

    /// Returns the counts of the accounting log, if there is one.
    pub(crate) fn accounting_log(&self) -> Option<&Arc<LogStatus>> {
        self.accounting_log.as_ref()
    }
}
