//! The command `snapload`: see `snapload --help`.

mod cli;
mod demo;
mod failure;
mod human;
mod json;
mod keys;
mod load_args;
mod report;
mod run;
mod screen;
mod script;
mod search;
mod signals;
mod table;
mod values;
mod written;

use std::process::ExitCode;

use clap::Parser as _;

use self::cli::{Cli, Command};

fn main() -> ExitCode {
    let ended = match Cli::parse().command {
        Command::Demo(arguments) => demo::run(&arguments),
        Command::Run(arguments) => run::run(&arguments),
        Command::Search(arguments) => search::search(&arguments),
        Command::Script(arguments) => script::run(&arguments),
        Command::Report(arguments) => report::report(&arguments),
        Command::Keys(arguments) => keys::print(&arguments),
    };
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            // The exit code remains if standard error is closed.
            let _ = failure.print();
            ExitCode::from(failure.exit_code())
        }
    }
}
