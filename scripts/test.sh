#!/usr/bin/env bash
# Runs every test. Arguments go to the test binaries: scripts/test.sh a_part_of_a_name
#
# Several invocations, because cargo unifies features over the packages of one: the mock clock of
# the virtual-time tests would stop the clock of the tests with real sockets.
set -euo pipefail
cd "$(dirname "$0")/.."

echo '== unit, property and socket tests'
cargo test --locked --quiet -- "$@"

echo '== hours of tunnels under virtual time'
cargo test --locked --quiet -p snaptun-virtual-time -- "$@"

echo '== many clients, faults and attackers under virtual time'
cargo test --locked --quiet -p snaptun-simulation -- "$@"

echo '== inputs that fuzzing began with and found'
cargo test --locked --quiet --manifest-path crates/fuzz/Cargo.toml --no-default-features --lib -- "$@"

echo '== what the benchmarks are made of'
cargo test --locked --quiet -p benches --lib -- "$@"

echo '== interoperability: snap-tun clients from crates.io against a running gateway'
cargo test --locked --quiet -p snapgate-interop -- "$@"
