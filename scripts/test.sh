#!/usr/bin/env bash
# Runs all tests. Arguments are passed to the test programs: scripts/test.sh PART_OF_A_TEST_NAME
#
# Each workspace is tested separately: the released crates without large peers, and without the mock clock, which would
# stop the timers of tests with real sockets.
set -euo pipefail
cd "$(dirname "$0")/.."
# One directory for all workspaces.
export CARGO_TARGET_DIR="${CARGO_TARGET_DIR:-$PWD/target}"

echo '== unit, property and socket tests'
cargo test --locked --quiet -- "$@"

echo '== tunnels in virtual time'
cargo test --locked --quiet --manifest-path crates/mock-clock/Cargo.toml -p snaptun-virtual-time -- "$@"

echo '== simulation: many clients, faults and attackers in virtual time'
cargo test --locked --quiet --manifest-path crates/mock-clock/Cargo.toml -p snaptun-simulation -- "$@"

echo '== fuzz corpus'
cargo test --locked --quiet --manifest-path crates/fuzz/Cargo.toml --no-default-features --lib -- "$@"

echo '== library of the benchmarks'
cargo test --locked --quiet --manifest-path benches/Cargo.toml --lib -- "$@"

echo '== interoperability with snap-tun clients from crates.io'
cargo test --locked --quiet --manifest-path crates/interop/Cargo.toml -- "$@"
