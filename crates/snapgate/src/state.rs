//! The directory of live tunnels, kept in a file for the next process.
//!
//! Workers send changes of their tunnels and never wait; the `writer` thread writes snapshots. The next process reads
//! the file and tells each worker its tunnels, so that the gateway begins the handshake at a client's first datagram.
//! The client itself would take 15 s to notice the restart.
//!
//! | file of the module | content |
//! | --- | --- |
//! | `clock` | clocks, and detection of a system clock that was set back |
//! | `format` | file format |
//! | `store` | records, and when to write them |
//! | `files` | file operations: lock, read, replace, set aside |
//! | `remote` | file operations in another process |
//! | `error` | errors of opening a directory |
//! | `writer` | the thread |
//! | `status` | counts for the metrics |
//! | `cost` | a benchmark |

mod clock;
#[cfg(test)]
mod cost;
mod error;
mod files;
mod format;
mod remote;
mod status;
mod store;
mod writer;

pub use error::StateError;
pub(crate) use files::{LocalFiles, OpenFiles};
pub(crate) use remote::{RemoteFiles, serve as serve_files};
pub(crate) use status::StateStatus;
pub(crate) use writer::{DirectoryFeed, StateWriter};

use std::time::Duration;

use snaptun::DirectoryChange;
use snaptun::protocol::REJECT_AFTER_TIME;

/// Interval at which changes are read, and minimum interval between writes.
const COMMIT_INTERVAL: Duration = Duration::from_secs(1);

/// Maximum interval between writes; an unchanged file is written to update the time in it.
const COMMIT_INTERVAL_MAX: Duration = Duration::from_secs(30);

/// Age at which the record of a tunnel is useless. Its peer may have sent messages later than recorded, and may have
/// made a new session then.
const RECORD_LIFETIME: Duration = REJECT_AFTER_TIME
    .saturating_add(DirectoryChange::REFRESH)
    .saturating_add(COMMIT_INTERVAL_MAX);
