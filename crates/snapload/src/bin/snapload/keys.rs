//! `snapload keys`: identities for the gateway to authorize.

use std::io::{self, Write as _};

use snapload::scenario::Scenario;
use snapload::{Identities, key_to_base64};

use crate::cli::KeysArguments;
use crate::failure::Failure;

/// Prints the identities of a seed in the TOML format of the gateway.
pub(crate) fn print(arguments: &KeysArguments) -> Result<(), Failure> {
    let count = match &arguments.script {
        Some(path) => Scenario::read_file(path)?.identities_needed(),
        None => arguments.tunnels,
    };
    write(arguments.key_seed, count).map_err(Failure::Output)
}

fn write(seed: u64, count: usize) -> io::Result<()> {
    let mut stdout = io::BufWriter::new(io::stdout().lock());
    writeln!(
        stdout,
        "# Load generator, seed {seed}. The seed reveals the private keys."
    )?;
    let keys = Identities::from_seed(seed, count).public_keys();
    for (index, key) in keys.iter().enumerate() {
        let key = key_to_base64(key);
        writeln!(
            stdout,
            "\n[[identity]]\npublic_key = \"{key}\"\nname = \"load-{seed}-{index}\""
        )?;
    }
    stdout.flush()
}
