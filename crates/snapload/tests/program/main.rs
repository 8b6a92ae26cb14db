//! Tests of the program against an echo gateway, on real sockets.
//!
//! A process that a test starts has copies of all descriptors of the test program until it executes its own program. So
//! only those test programs start processes in which no test relies on a lock, address or port being free as soon as
//! its holder is dropped (list in `scripts/check-tree.sh`).

#![expect(clippy::unwrap_used, reason = "failing helpers fail their test")]

mod command;
mod demo;
mod reports;
mod script;
