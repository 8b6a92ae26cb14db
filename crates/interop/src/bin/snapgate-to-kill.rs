//! The `snapgate` command, for tests that kill it: cargo builds no binaries of other packages for them.

use std::process::ExitCode;

fn main() -> ExitCode {
    snapgate::cli::main(std::env::args_os())
}
