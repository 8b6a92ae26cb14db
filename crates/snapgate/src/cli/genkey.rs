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
    /// Write the private key to this new file, which its owner alone can read (0600), and print the
    /// public key instead; an existing file is not overwritten
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
}

const EXAMPLES: &str = "\
Examples:
  snapgate genkey --output /etc/snapgate/private.key
  snapgate genkey | tee private.key | snapgate pubkey     (with umask 077)";

/// Makes a key.
pub(super) fn genkey(arguments: &GenkeyArgs) -> ExitCode {
    let key = match PrivateKey::generate() {
        Ok(key) => key,
        Err(error) => {
            return fail(
                FAILURE,
                &format!("the operating system has no random numbers: {error}"),
            );
        }
    };
    match &arguments.output {
        Some(file) => match keys::write_private_key_file(file, &key) {
            Ok(()) => print(&format!("{}\n", key.public_key())),
            Err(fault) => fail(FAILURE, &format!("{} {fault}", file.display())),
        },
        None => print_key(&key),
    }
}

fn print_key(key: &PrivateKey) -> ExitCode {
    // Not through `Stdout`, whose buffer would keep a copy of the key.
    let mut output = match io::stdout().as_fd().try_clone_to_owned() {
        Ok(output) => File::from(output),
        Err(error) => return end_after_printing(Err(error)),
    };
    if let Some(mode) = mode_of_file(&output).filter(|mode| mode & 0o007 != 0) {
        print_warning(&format!(
            "standard output is a file that others can use (mode {mode:04o}); use --output, or \
             umask 077"
        ));
    }
    let mut line = Zeroizing::new(String::with_capacity(keys::KEY_BASE64_LEN + 1));
    line.push_str(&key.to_base64());
    line.push('\n');
    end_after_printing(output.write_all(line.as_bytes()))
}

/// The permissions of a file, if it is one and no pipe or terminal.
fn mode_of_file(file: &File) -> Option<u32> {
    let metadata = file.metadata().ok()?;
    metadata
        .is_file()
        .then(|| metadata.permissions().mode() & 0o7777)
}
