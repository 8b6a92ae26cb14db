//! Waiting with a time limit.

use std::time::Duration;

use testkit::PATIENCE;
use tokio::time::timeout;

/// Interval at which [`until`] asks.
const POLL_INTERVAL: Duration = Duration::from_millis(10);

/// Waits for `event`.
///
/// # Panics
///
/// After [`PATIENCE`], with `what` in the message.
pub async fn in_time<T>(what: &str, event: impl Future<Output = T>) -> T {
    match timeout(PATIENCE, event).await {
        Ok(outcome) => outcome,
        Err(_) => panic!("{what}: not within {PATIENCE:?}"),
    }
}

/// Asks until `check` returns a value, and returns that value.
///
/// # Panics
///
/// After [`PATIENCE`], with `what` in the message.
pub async fn until<T>(what: &str, mut check: impl AsyncFnMut() -> Option<T>) -> T {
    let poll = async {
        let mut interval = tokio::time::interval(POLL_INTERVAL);
        loop {
            if let Some(value) = check().await {
                return value;
            }
            interval.tick().await;
        }
    };
    in_time(what, poll).await
}
