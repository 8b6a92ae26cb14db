//! What the HTTP side shows besides the workers' counters.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use jiff::Timestamp;

use crate::authorization::ConfiguredIdentities;
use crate::state::StateStatus;

/// How the gateway as a whole is.
pub(crate) struct Status {
    started: Timestamp,
    draining: AtomicBool,
    authorization: Arc<ConfiguredIdentities>,
    clock_is_trusted: Arc<AtomicBool>,
    state: Option<Arc<StateStatus>>,
}

impl Status {
    pub(crate) fn new(
        authorization: Arc<ConfiguredIdentities>,
        clock_is_trusted: Arc<AtomicBool>,
        state: Option<Arc<StateStatus>>,
    ) -> Self {
        Self {
            started: Timestamp::now(),
            draining: AtomicBool::new(false),
            authorization,
            clock_is_trusted,
            state,
        }
    }

    /// When the process started, near enough.
    pub(crate) fn started(&self) -> Timestamp {
        self.started
    }

    /// From now on no new tunnels are made.
    pub(crate) fn set_draining(&self) {
        self.draining.store(true, Ordering::Relaxed);
    }

    pub(crate) fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Relaxed)
    }

    /// Who may have a tunnel.
    pub(crate) fn authorization(&self) -> &ConfiguredIdentities {
        &self.authorization
    }

    /// Whether the system clock can be trusted, as of the last reading.
    pub(crate) fn is_clock_trusted(&self) -> bool {
        self.clock_is_trusted.load(Ordering::Relaxed)
    }

    /// How the state file does, if there is one.
    pub(crate) fn state(&self) -> Option<&Arc<StateStatus>> {
        self.state.as_ref()
    }
}
