#!/usr/bin/env bash
# Soak test: runs a gateway under changing load for hours, and checks it for leaks and unexplained losses.
#
#   scripts/soak.sh          two hours
#   scripts/soak.sh 0.17     ten minutes
#
# scripts/soak.py describes the load and the checks. Environment variables:
#   SOAK_CSV         file for samples (default: soak.csv in the current directory)
#   GATEWAY_FLAGS    additional flags of `snapgate run`
#
# Exit code 0: all checks passed. 1: a check failed, or a program could not be run.
set -euo pipefail
csv=$(realpath -m "${SOAK_CSV:-soak.csv}")
cd "$(dirname "$0")/.."
cargo build --release --locked --quiet -p snapgate -p snapload
exec scripts/soak.py --programs "${CARGO_TARGET_DIR:-target}/release" --csv "$csv" --hours "${1:-2}"
