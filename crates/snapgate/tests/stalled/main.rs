//! Running processes while the other side of something stalls: a reader of standard error or standard output, the
//! service manager, HTTP clients, the state directory.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a helper that fails, fails its test"
)]

#[expect(dead_code, reason = "shared with the tests of `it`")]
#[path = "../it/client.rs"]
mod client;
mod end;
#[path = "../it/http.rs"]
mod http;
mod identities_file;
mod outputs;
#[expect(dead_code, reason = "shared with the tests of `it`")]
#[path = "../process/process.rs"]
mod process;
mod signals;
mod stall;
#[expect(dead_code, reason = "shared with the tests of `it`")]
#[path = "../process/workspace.rs"]
mod workspace;
