#!/usr/bin/env bash
# Tests a SNAP end to end: a gateway with its control plane, unmodified SCION applications, and PocketSCION as the
# network. Arguments are passed to the test programs: scripts/e2e.sh PART_OF_A_TEST_NAME
#
# Tests the `snapgate` command in SNAPGATE_BIN, or a release build. Installs cmake and libclang-dev if they are missing:
# the SCION stack depends on BoringSSL, which is built with them.
set -euo pipefail
cd "$(dirname "$0")/.."
# One directory for all workspaces.
export CARGO_TARGET_DIR="${CARGO_TARGET_DIR:-$PWD/target}"

scripts/install-packages.sh cmake libclang-dev

if [[ -z "${SNAPGATE_BIN:-}" ]]; then
    cargo build --locked --quiet --release -p snapgate
    export SNAPGATE_BIN="$CARGO_TARGET_DIR/release/snapgate"
fi
# The tests print durations and losses.
cargo test --locked --quiet --no-fail-fast --manifest-path crates/e2e/Cargo.toml -- --nocapture "$@"
