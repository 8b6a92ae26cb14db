//! What the HTTP side shows besides the workers' counters.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use jiff::Timestamp;

use crate::authorization::ConfiguredIdentities;

/// How the gateway as a whole is.
pub(crate) struct Status {
    started: Timestamp,
    draining: AtomicBool,
    authorization: Arc<ConfiguredIdentities>,
}

impl Status {
    pub(crate) fn new(authorization: Arc<ConfiguredIdentities>) -> Self {
        Self {
            started: Timestamp::now(),
            draining: AtomicBool::new(false),
            authorization,
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
}
