//! `snapload keys`: the identities that a gateway has to authorize.

use std::io::{self, Write as _};

use snapload::{Identities, key_to_base64};

use crate::cli::KeysArguments;

/// Prints the identities of a seed as the TOML that gateways read.
pub(crate) fn print(arguments: &KeysArguments) -> io::Result<()> {
    let seed = arguments.key_seed;
    let mut stdout = io::BufWriter::new(io::stdout().lock());
    writeln!(
        stdout,
        "# Load generator, seed {seed}: who knows the seed has the private keys."
    )?;
    let keys = Identities::from_seed(seed, arguments.tunnels).public_keys();
    for (index, key) in keys.iter().enumerate() {
        let key = key_to_base64(key);
        writeln!(
            stdout,
            "\n[[identity]]\npublic_key = \"{key}\"\nname = \"load-{seed}-{index}\""
        )?;
    }
    stdout.flush()
}
