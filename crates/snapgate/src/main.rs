//! The `snapgate` command.

use std::process::ExitCode;

fn main() -> ExitCode {
    snapgate::cli::main(std::env::args_os())
}
