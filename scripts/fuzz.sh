#!/usr/bin/env bash
# Runs the fuzz targets of crates/fuzz one after the other, starting from their corpus.
#
#   scripts/fuzz.sh                      every target for ten minutes
#   scripts/fuzz.sh cbpf                 one target for ten minutes
#   scripts/fuzz.sh cbpf 3600            one target for an hour
#   scripts/fuzz.sh all 12               every target for 12 seconds
#
# Exit code 0: no failure was found. Inputs that fail are in crates/fuzz/artifacts/TARGET/. To reproduce a failure:
# cargo fuzz run --fuzz-dir crates/fuzz --sanitizer none TARGET FILE
#
# New inputs stay in the build directory, where the next run continues with them. To minimise them for the corpus:
# cargo fuzz cmin --fuzz-dir crates/fuzz --sanitizer none TARGET
set -euo pipefail
cd "$(dirname "$0")/.."

targets=(datagrams scion_view cbpf configuration identities rpc token)
if [[ "${1:-all}" != all ]]; then
    targets=("$1")
fi
seconds=${2:-600}

# cargo-fuzz is installed on the first run.
tools="${XDG_CACHE_HOME:-$HOME/.cache}/snapgate/tools"
export PATH="$PATH:$tools/bin"
if ! command -v cargo-fuzz >/dev/null; then
    cargo install --locked --quiet --root "$tools" cargo-fuzz@0.13.2
fi

# The code under test is safe Rust, which does not need the address sanitizer. Without it, the stable toolchain is
# enough, and the targets are twice as fast.
flags=(--fuzz-dir crates/fuzz --sanitizer none)
cargo fuzz build "${flags[@]}"

inputs="${CARGO_TARGET_DIR:-crates/fuzz/target}/fuzz-inputs"
for target in "${targets[@]}"; do
    printf '\n== %s for %s s\n' "$target" "$seconds"
    mkdir -p "$inputs/$target"
    # The first directory takes new inputs, the second is only read.
    cargo fuzz run "${flags[@]}" "$target" "$inputs/$target" "crates/fuzz/corpus/$target" -- \
        -max_total_time="$seconds" -timeout=10 -print_final_stats=1 -verbosity=0
done
