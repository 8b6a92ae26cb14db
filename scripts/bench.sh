#!/usr/bin/env bash
# Runs a benchmark of benches/ with the arguments after its name.
#
#   scripts/bench.sh peers --help        a gateway process against its floor, its peer and an older build
#   scripts/bench.sh attacks --help      a gateway process under attack
#   scripts/bench.sh sockets --help      receiving and sending
#   scripts/bench.sh packet_path         steps of the packet path without system calls
set -euo pipefail
cd "$(dirname "$0")/.."
# One directory for all workspaces.
export CARGO_TARGET_DIR="${CARGO_TARGET_DIR:-$PWD/target}"
exec cargo bench --locked --manifest-path benches/Cargo.toml \
    --bench "${1:?usage: scripts/bench.sh peers|attacks|sockets|packet_path [ARGUMENT]...}" -- "${@:2}"
