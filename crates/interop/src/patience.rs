//! Waiting for what has to happen.

use std::time::Duration;

use tokio::time::timeout;

/// How long anything may take before a test fails. The slowest thing waited for is a client that
/// notices by itself, after 15 s, that its gateway has restarted.
pub const PATIENCE: Duration = Duration::from_secs(60);

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
