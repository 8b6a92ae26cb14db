//! Waiting with a time limit.

use testkit::PATIENCE;
use tokio::time::timeout;

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
