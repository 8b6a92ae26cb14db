//! Waiting for a lock that a gateway which was killed is about to release.

use std::thread;
use std::time::{Duration, Instant};

/// Time in which a process that was killed releases its locks, unless its storage hangs.
const RELEASE_TIME: Duration = Duration::from_secs(3);

/// Interval between attempts.
const RETRY_INTERVAL: Duration = Duration::from_millis(10);

/// Returns the first result of `open` that is not "in use", or the last one after [`RELEASE_TIME`].
pub(crate) fn once_released<T>(is_in_use: impl Fn(&T) -> bool, mut open: impl FnMut() -> T) -> T {
    let deadline = Instant::now() + RELEASE_TIME;
    loop {
        let opened = open();
        if !is_in_use(&opened) || Instant::now() >= deadline {
            return opened;
        }
        thread::sleep(RETRY_INTERVAL);
    }
}
