//! The command line of `snapgate`.

use std::ffi::OsString;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use self::output::{USAGE, print_warning};
use crate::{file_process, hardening, standard_streams};

mod check;
mod genkey;
mod output;
mod pubkey;
mod registrations;
mod run;
mod serve_files;
mod setting_args;
mod token;
mod write_output;

#[derive(Parser)]
#[command(name = "snapgate", version, propagate_version = true)]
#[command(about = ABOUT, after_help = EXAMPLES)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

const ABOUT: &str = "\
A SCION Network Access Point: terminates SNAPtun tunnels, forwards the SCION packets inside them, \
and registers clients by their tokens";

const EXAMPLES: &str = "\
Examples:
  snapgate genkey --output private.key
      Generate a private key and print the public key for the clients
  snapgate check --config snapgate.toml
      Print all settings with their sources, or all errors
  snapgate run --config snapgate.toml
      Run the gateway until SIGINT or SIGTERM

Exit codes:
  0  success
  1  failure at run time
  2  invalid usage or configuration";

#[derive(Subcommand)]
enum Command {
    /// Run the gateway until SIGINT or SIGTERM.
    Run(run::RunArgs),
    /// Check a configuration and print all settings, or all errors.
    Check(check::CheckArgs),
    /// Generate a private key, like `wg genkey`.
    Genkey(genkey::GenkeyArgs),
    /// Print the public key of the private key on standard input, like `wg pubkey`.
    Pubkey(pubkey::PubkeyArgs),
    /// List or revoke the identities that clients have registered.
    Registrations(registrations::RegistrationsArgs),
    /// Sign a token for tutorials and tests, or generate the keys for it.
    Token(token::TokenArgs),
    /// Access files for a gateway, which starts this command.
    #[command(name = file_process::COMMAND, hide = true)]
    ServeFiles(serve_files::ServeFilesArgs),
    /// Write to a file for a gateway, which starts this command.
    #[command(name = standard_streams::COMMAND, hide = true)]
    WriteOutput(write_output::WriteOutputArgs),
}

/// Runs a command, in the program `snapgate`. The first argument is the name of the program.
pub fn program(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    file_process::allow();
    main(arguments)
}

/// Runs a command, in any program. The first argument is the name of the program. `run` then starts no other processes,
/// so the program cannot end while the storage of its files hangs.
pub fn main(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    if let Err(error) = hardening::forbid_dumps() {
        print_warning(&format!(
            "cannot protect private keys in memory from core dumps and debuggers: {error}"
        ));
    }
    let cli = match Cli::try_parse_from(arguments) {
        Ok(cli) => cli,
        Err(error) => {
            // Includes help and version. There is no way to report a failed write.
            let _ = error.print();
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(USAGE));
        }
    };
    match cli.command {
        Command::Run(arguments) => run::run(arguments),
        Command::Check(arguments) => check::check(arguments),
        Command::Genkey(arguments) => genkey::genkey(&arguments),
        Command::Pubkey(arguments) => pubkey::pubkey(&arguments),
        Command::Registrations(arguments) => registrations::registrations(arguments),
        Command::Token(arguments) => token::token(arguments),
        Command::ServeFiles(arguments) => serve_files::serve_files(&arguments),
        Command::WriteOutput(arguments) => write_output::write_output(&arguments),
    }
}
