//! `snapgate pubkey`.

use std::fs::File;
use std::io;
use std::os::fd::AsFd as _;
use std::process::ExitCode;

use clap::Args;

use super::output::{FAILURE, USAGE, fail, print, print_warning};
use crate::keys;

#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct PubkeyArgs {}

const EXAMPLES: &str = "\
Example:
  snapgate pubkey < /etc/snapgate/private.key";

/// Prints the public key of the private key on standard input.
pub(super) fn pubkey(_arguments: &PubkeyArgs) -> ExitCode {
    // The buffer of `Stdin` would keep a copy of the key.
    let input = match io::stdin().as_fd().try_clone_to_owned() {
        Ok(input) => File::from(input),
        Err(error) => return fail(FAILURE, &format!("cannot read standard input: {error}")),
    };
    match keys::read_private_key(input) {
        Ok(key) => {
            if !key.is_clamped() {
                print_warning(
                    &"standard input: the key is not clamped like a WireGuard private key; check \
                      that it is not a public key",
                );
            }
            print(&format!("{}\n", key.public_key()))
        }
        Err(fault) => fail(USAGE, &format!("standard input: {fault}")),
    }
}
