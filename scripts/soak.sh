#!/usr/bin/env bash
# Keeps a gateway under changing load for hours, and says whether it stayed what it was.
#
#   scripts/soak.sh          two hours
#   scripts/soak.sh 0.17     ten minutes
#
# scripts/soak.py says what happens meanwhile and what is judged. Samples go into soak.csv in the current
# directory, or where SOAK_CSV says; GATEWAY_FLAGS holds further flags of `snapgate run`.
#
# Exit code 0: it stayed what it was. 1: it did not, or something could not be run.
set -euo pipefail
csv=$(realpath -m "${SOAK_CSV:-soak.csv}")
cd "$(dirname "$0")/.."
cargo build --release --locked --quiet -p snapgate -p snapload
exec scripts/soak.py --programs "${CARGO_TARGET_DIR:-target}/release" --csv "$csv" --hours "${1:-2}"
