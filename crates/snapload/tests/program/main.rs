//! The program against a gateway that echoes, on real sockets.
//!
//! A process that a test starts has copies of all descriptors of the test program until it executes its own
//! program. So only test programs start processes in which no test needs a lock, address or port to be free as soon
//! as its holder is dropped (`scripts/check-tree.sh` has the list).

#![expect(clippy::unwrap_used, reason = "a helper that fails, fails its test")]

mod command;
mod demo;
mod reports;
mod script;
