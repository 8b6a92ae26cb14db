//! Gateway process against its floor and its peer: `scripts/bench.sh peers`.

use std::process::ExitCode;

use benches::{Programs, peers};

fn main() -> ExitCode {
    peers::main(Programs {
        peer: env!("CARGO_BIN_EXE_peer_gateway"),
        launcher: env!("CARGO_BIN_EXE_until_parent_ends"),
    })
}
