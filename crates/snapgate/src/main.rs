//! The `snapgate` command.

use std::process::ExitCode;

fn main() -> ExitCode {
    snapgate::cli::program(std::env::args_os())
}
