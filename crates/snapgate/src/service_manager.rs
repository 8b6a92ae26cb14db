//! What the service manager is told (sd_notify(3)). Where no manager asks for it, by the environment
//! variable `NOTIFY_SOCKET`, nothing happens.

use sd_notify::NotifyState;

/// The gateway serves.
pub(crate) fn ready() {
    tell(&[NotifyState::Ready]);
}

/// The gateway reads its identities again. To be followed by [`reloaded`].
pub(crate) fn reloading() {
    match NotifyState::monotonic_usec_now() {
        Ok(now) => tell(&[NotifyState::Reloading, now]),
        Err(error) => warn(&error),
    }
}

/// What came of reading the identities again.
pub(crate) fn reloaded(status: &str) {
    tell(&[NotifyState::Ready, NotifyState::Status(status)]);
}

/// What the gateway does, for people to read.
pub(crate) fn status(status: &str) {
    tell(&[NotifyState::Status(status)]);
}

/// The gateway is about to end.
pub(crate) fn stopping() {
    tell(&[NotifyState::Stopping]);
}

fn tell(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        warn(&error);
    }
}

fn warn(error: &std::io::Error) {
    tracing::warn!("cannot tell the service manager how the gateway is: {error}");
}
