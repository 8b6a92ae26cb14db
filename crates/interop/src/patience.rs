//! Waiting for what has to happen.

use testkit::PATIENCE;
use tokio::time::timeout;

/// Waits for `event`, and fails the test when it does not come; `what` says what that is.
///
/// # Panics
///
/// After [`PATIENCE`].
pub async fn in_time<T>(what: &str, event: impl Future<Output = T>) -> T {
    match timeout(PATIENCE, event).await {
        Ok(outcome) => outcome,
        Err(_) => panic!("no sign of {what} within {PATIENCE:?}"),
    }
}
