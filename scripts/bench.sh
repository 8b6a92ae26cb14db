#!/usr/bin/env bash
# Runs a benchmark of benches/; arguments after its name go to it.
#
#   scripts/bench.sh peers --help        the gateway as a process, against its floor, its peer and an older build
#   scripts/bench.sh attacks --help      the gateway as a process, under attack
#   scripts/bench.sh sockets --help      receiving and sending
#   scripts/bench.sh packet_path         each step that makes no system call
set -euo pipefail
cd "$(dirname "$0")/.."
# One directory for all workspaces.
export CARGO_TARGET_DIR="${CARGO_TARGET_DIR:-$PWD/target}"
exec cargo bench --locked --manifest-path benches/Cargo.toml --bench "${1:?name a benchmark}" -- "${@:2}"
