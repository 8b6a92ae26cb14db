//! Accounting: records of the traffic in tunnels.
//!
//! A shard counts in its tunnels, and reports a tunnel when it ends or when its session data change. The worker passes the
//! record to a bounded channel and never waits: a record without room is lost and counted in
//! `snapgate_usage_records_total`. When a gateway stops, its workers report the tunnels that are left, and wait up to 1 s
//! for room.
//!
//! The receiver is an embedding program ([`GatewayBuilder::usage_records`](crate::gateway::GatewayBuilder::usage_records))
//! or, with the setting `accounting_log` of `snapgate run`, a thread that appends a line to a file for each record:
//!
//! | file of the module | content |
//! | --- | --- |
//! | `record` | a record, and its line |
//! | `feed` | a worker's end of the channel |
//! | `log` | the thread |
//! | `file` | appending, by another process |
//! | `status` | counts for the metrics |

mod feed;
mod file;
mod log;
mod record;
mod status;

pub use snaptun::Traffic;

pub(crate) use self::feed::{UsageFeed, UsageSink};
pub(crate) use self::file::serve as serve_file;
pub(crate) use self::log::AccountingLog;
pub use self::record::UsageRecord;
pub(crate) use self::status::LogStatus;
