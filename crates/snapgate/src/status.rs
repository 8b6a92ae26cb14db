//! Status of the gateway, for the metrics and the HTTP server.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use jiff::Timestamp;

use crate::accounting::LogStatus;
use crate::authorization::Authorizer;
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

    /// Returns the counts of the accounting log, if there is one.
    pub(crate) fn accounting_log(&self) -> Option<&Arc<LogStatus>> {
        self.accounting_log.as_ref()
    }
}
