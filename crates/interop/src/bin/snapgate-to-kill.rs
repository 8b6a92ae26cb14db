//! The `snapgate` command for tests that kill it: cargo does not build binaries of other packages for tests.

use std::process::ExitCode;

fn main() -> ExitCode {
    snapgate::cli::main(std::env::args_os())
}
