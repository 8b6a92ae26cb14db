//! The directory of live tunnels, kept in a file for the next process.
//!
//! Workers send changes of their tunnels and never wait; one thread, the `writer`, writes snapshots. A new process
//! reads the file and tells each worker of the tunnels that it owns now, so that with the first datagram of a client
//! the gateway begins the handshake. The client would take 15 s to notice that it has to.
//!
//! | file of the module | content |
//! | --- | --- |
//! | `clock` | the clocks, and whether the system clock was set back |
//! | `format` | the bytes of the file |
//! | `store` | the file: read, replaced, set aside |
//! | `writer` | the thread |
//! | `status` | counts for the metrics |
//! | `cost` | a benchmark |

mod clock;
#[cfg(test)]
mod cost;
mod format;
mod status;
mod store;
mod writer;

pub(crate) use status::StateStatus;
pub use store::StateError;
pub(crate) use writer::{DirectoryFeed, StateWriter};

use std::time::Duration;

use snaptun::DirectoryChange;
use snaptun::protocol::REJECT_AFTER_TIME;

/// How often changes are taken in, and the file is written at the most.
const COMMIT_INTERVAL: Duration = Duration::from_secs(1);

/// How often the file is written at the least, for the time that it has.
const COMMIT_INTERVAL_MAX: Duration = Duration::from_secs(30);

/// Time after which the record of a tunnel is of no use. The tunnel may have been heard from later than recorded, and
/// may have had a new session then.
const RECORD_LIFETIME: Duration = REJECT_AFTER_TIME
    .saturating_add(DirectoryChange::REFRESH)
    .saturating_add(COMMIT_INTERVAL_MAX);
