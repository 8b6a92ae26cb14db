#!/usr/bin/env bash
# Runs scenarios against gateways that it starts on loopback, and prints how each ended.
#
#   scripts/scenarios/run-all.sh                    all of them
#   scripts/scenarios/run-all.sh churn ramp         these
#
# Exit code 0: all passed. Each scenario has its own gateway, so that none meets the tunnels of another. GATEWAY_FLAGS
# holds further flags of `snapgate run`, for example "--workers 1".
set -euo pipefail
cd "$(dirname "$0")/../.."

cargo build --release --locked --quiet -p snapgate -p snapload
bin=${CARGO_TARGET_DIR:-target}/release
files=$(mktemp -d)
gateway=
stop_gateway() {
    [[ -z $gateway ]] || { kill "$gateway" 2>/dev/null && wait "$gateway" || true; }
    gateway=
}
trap 'stop_gateway; rm -rf "$files"' EXIT

"$bin/snapgate" genkey --output "$files/private.key" >"$files/public.key"

# Runs one scenario. An interruption ends the whole script.
play() {
    local scenario=$1 address seed=$RANDOM
    "$bin/snapload" keys --script "$scenario" --key-seed "$seed" >"$files/identities.toml"
    # The previous gateway's log contains its address.
    : >"$files/gateway.log"
    # shellcheck disable=SC2086
    "$bin/snapgate" run --listen 127.0.0.1:0 --private-key-file "$files/private.key" \
        --identities "$files/identities.toml" --forward echo --drain-timeout-seconds 0 ${GATEWAY_FLAGS:-} \
        >"$files/gateway.log" 2>&1 &
    gateway=$!
    for _ in {1..100}; do
        address=$(grep -om1 '127\.0\.0\.1:[1-9][0-9]*' "$files/gateway.log" || true)
        [[ -z $address ]] || break
        sleep 0.1
    done
    [[ -n $address ]] || { cat "$files/gateway.log" >&2; exit 1; }
    local code=0
    "$bin/snapload" script "$scenario" --gateway "$address" \
        --public-key "$(<"$files/public.key")" --key-seed "$seed" || code=$?
    stop_gateway
    ((code != 130)) || exit 130
    return "$code"
}

names=("$@")
if ((${#names[@]} == 0)); then
    for scenario in scripts/scenarios/*.toml; do
        names+=("$(basename "$scenario" .toml)")
    done
fi
verdicts=()
failed=0
for name in "${names[@]}"; do
    started=$SECONDS
    verdict=PASS
    play "scripts/scenarios/$name.toml" || { verdict=FAIL; failed=1; }
    verdicts+=("$(printf '%-4s  %-22s %3d s' "$verdict" "$name" $((SECONDS - started)))")
    echo
done
printf '%s\n' "${verdicts[@]}"
exit "$failed"
