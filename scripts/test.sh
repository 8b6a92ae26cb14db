#!/usr/bin/env bash
# Runs every test. Arguments go to the test binaries: scripts/test.sh a_part_of_a_name
#
# Several invocations: packages with the mock clock are a workspace of their own (crates/mock-clock), where they
# cannot stop the clock of the tests with real sockets.
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
cargo test --locked --quiet -p benches --lib -- "$@"

echo '== interoperability: snap-tun clients from crates.io against a running gateway'
cargo test --locked --quiet -p snapgate-interop -- "$@"
