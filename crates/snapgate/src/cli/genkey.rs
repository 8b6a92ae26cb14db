//! `snapgate genkey`.

use std::fs::File;
use std::io::{self, Write as _};
use std::os::fd::AsFd as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use zeroize::Zeroizing;

use super::output::{FAILURE, end_after_printing, fail, print, print_warning};
use crate::keys::{self, PrivateKey};

#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct GenkeyArgs {
    /// Write the private key to a new file with mode 0600, and print the public key; an existing
    /// file is not overwritten
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
}

const EXAMPLES: &str = "\
Examples:
  snapgate genkey --output /etc/snapgate/private.key
  (umask 077; snapgate genkey | tee private.key | snapgate pubkey)";

/// Generates a key.
pub(super) fn genkey(arguments: &GenkeyArgs) -> ExitCode {
    let key = match PrivateKey::generate() {
        Ok(key) => key,
        Err(error) => {
            return fail(
                FAILURE,
                &format!("cannot get random numbers from the operating system: {error}"),
            );
        }
    };
    match &arguments.output {
        Some(file) => match keys::write_private_key_file(file, &key) {
            Ok(()) => print(&format!("{}\n", key.public_key())),
            Err(fault) => fail(FAILURE, &format!("{}: {fault}", file.display())),
        },
        None => print_key(&key),
    }
}

fn print_key(key: &PrivateKey) -> ExitCode {
    // The buffer of `Stdout` would keep a copy of the key.
    let mut output = match io::stdout().as_fd().try_clone_to_owned() {
        Ok(output) => File::from(output),
        Err(error) => return end_after_printing(Err(error)),
    };
    if let Some(mode) = mode_of_file(&output).filter(|mode| mode & 0o007 != 0) {
        print_warning(&format!(
            "standard output is a file that other users can access (mode {mode:04o}); use --output \
             or umask 077"
        ));
    }
    let mut line = Zeroizing::new(String::with_capacity(keys::KEY_BASE64_LEN + 1));
    line.push_str(&key.to_base64());
    line.push('\n');
    end_after_printing(output.write_all(line.as_bytes()))
}

/// Returns the mode bits of a regular file.
fn mode_of_file(file: &File) -> Option<u32> {
    let metadata = file.metadata().ok()?;
    metadata
        .is_file()
        .then(|| metadata.permissions().mode() & 0o7777)
}
