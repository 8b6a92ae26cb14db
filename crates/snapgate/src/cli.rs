//! The command line: `snapgate run`, `check`, `genkey` and `pubkey`.

use std::ffi::OsString;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use self::output::{USAGE, print_warning};
use crate::hardening;

mod check;
mod genkey;
mod output;
mod pubkey;
mod run;
mod setting_args;

#[derive(Parser)]
#[command(name = "snapgate", version, propagate_version = true)]
#[command(about = ABOUT, after_help = EXAMPLES)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

const ABOUT: &str = "\
The data plane of a SCION Network Access Point: terminates SNAPtun tunnels and forwards the SCION \
packets inside them";

const EXAMPLES: &str = "\
Examples:
  snapgate genkey --output private.key
      Make the gateway's key; prints the public key, which clients need
  snapgate check --config snapgate.toml
      Say what a configuration means, or all that is wrong with it
  snapgate run --config snapgate.toml
      Run the gateway until SIGINT or SIGTERM

Exit codes:
  0  done
  1  failed while running
  2  wrong usage or configuration";

#[derive(Subcommand)]
enum Command {
    /// Run the gateway until SIGINT or SIGTERM.
    Run(run::RunArgs),
    /// Check a configuration: print what it means, or all that is wrong with it.
    Check(check::CheckArgs),
    /// Make a private key and print it, like `wg genkey`.
    Genkey(genkey::GenkeyArgs),
    /// Read a private key from standard input and print its public key, like `wg pubkey`.
    Pubkey(pubkey::PubkeyArgs),
}

/// Runs the command line. `arguments` starts with the program's name.
pub fn main(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    if let Err(error) = hardening::forbid_dumps() {
        print_warning(&format!(
            "the memory of this process, private keys included, may be dumped or read: {error}"
        ));
    }
    let cli = match Cli::try_parse_from(arguments) {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version come as "errors" too. A failure cannot be reported anywhere.
            let _ = error.print();
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(USAGE));
        }
    };
    match cli.command {
        Command::Run(arguments) => run::run(arguments),
        Command::Check(arguments) => check::check(arguments),
        Command::Genkey(arguments) => genkey::genkey(&arguments),
        Command::Pubkey(arguments) => pubkey::pubkey(&arguments),
    }
}
