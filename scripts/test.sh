#!/usr/bin/env bash
# Runs every test. Arguments go to the test binaries: scripts/test.sh a_part_of_a_name
#
# Several invocations, one for each workspace: what ships is tested without large peers, and without the mock clock,
# which would stop the tunnels of tests with real sockets.
set -euo pipefail
cd "$(dirname "$0")/.."
# One directory for all workspaces.
export CARGO_TARGET_DIR="${CARGO_TARGET_DIR:-$PWD/target}"

echo '== unit, property and socket tests'
cargo test --locked --quiet -- "$@"

echo '== hours of tunnels under virtual time'
cargo test --locked --quiet --manifest-path crates/mock-clock/Cargo.toml -p snaptun-virtual-time -- "$@"

echo '== many clients, faults and attackers under virtual time'
cargo test --locked --quiet --manifest-path crates/mock-clock/Cargo.toml -p snaptun-simulation -- "$@"

echo '== inputs that fuzzing began with and found'
cargo test --locked --quiet --manifest-path crates/fuzz/Cargo.toml --no-default-features --lib -- "$@"

echo '== what the benchmarks are made of'
cargo test --locked --quiet --manifest-path benches/Cargo.toml --lib -- "$@"

echo '== interoperability: snap-tun clients from crates.io against a running gateway'
cargo test --locked --quiet --manifest-path crates/interop/Cargo.toml -- "$@"
