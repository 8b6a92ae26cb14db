//! Gateway process under attack: `scripts/bench.sh attacks`.

use std::process::ExitCode;

use benches::{Programs, attacks};

fn main() -> ExitCode {
    attacks::main(Programs {
        peer: env!("CARGO_BIN_EXE_peer_gateway"),
        launcher: env!("CARGO_BIN_EXE_until_parent_ends"),
    })
}
