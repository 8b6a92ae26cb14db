//! The directory of live tunnels, kept in a file for the process that comes after this one.
//!
//! Workers tell of their tunnels and never wait; one thread, the `keeper`, writes. A new process reads the
//! file and tells each worker of the tunnels that it owns now, so that the first datagram of a client makes
//! the gateway begin the handshake, and not the client, which takes 15 s to notice.
//!
//! | file of the module | what |
//! | --- | --- |
//! | `clock` | what the clocks say, and whether the clock of the day was set back |
//! | `format` | the bytes of the file |
//! | `store` | the file: opened, appended to, written anew, set aside |
//! | `keeper` | the thread |
//! | `status` | how it does, for the metrics |

mod clock;
#[cfg(test)]
mod cost;
mod format;
mod keeper;
mod status;
mod store;

pub(crate) use keeper::{DirectoryFeed, Keeper};
pub(crate) use status::StateStatus;
pub use store::StateError;

use std::time::Duration;

use snaptun::SnapTunServer;

use crate::authorization::ConfiguredIdentities;

/// How often changes are written, if there are any.
const COMMIT_INTERVAL: Duration = Duration::from_secs(1);

/// The file is written to at least so often, for what it says of the clock.
const COMMIT_INTERVAL_MAX: Duration = Duration::from_secs(30);

/// `Reject-After-Time` (WireGuard whitepaper, section 6.1): the longest that a session is used.
const SESSION_LIFETIME: Duration = Duration::from_secs(180);

/// How long after it was heard from the record of a tunnel is of use: the tunnel may have been heard from
/// later, and may have had a new session then.
const RECORD_LIFETIME: Duration = SESSION_LIFETIME
    .saturating_add(SnapTunServer::<ConfiguredIdentities>::DIRECTORY_REFRESH)
    .saturating_add(COMMIT_INTERVAL_MAX);
