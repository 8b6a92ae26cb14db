#!/usr/bin/env bash
# Rules of the source tree that neither rustc nor clippy knows.
set -euo pipefail
cd "$(dirname "$0")/.."
failed=0
complain() {
    printf '%s\n' "$1" >&2
    failed=1
}

# A file that grew beyond this hides its structure.
while read -r lines file; do
    ((lines <= 800)) || complain "$file has $lines lines; split it (at most 800)"
done < <(git ls-files '*.rs' | xargs wc -l | awk '$2 != "total" { print $1, $2 }')

# The sans-I/O crates and the packet path know neither each other nor the network.
for crate in snaptun scion-packet udp-shards; do
    for other in snaptun scion-packet udp-shards snapgate snapload; do
        [[ $crate == "$other" ]] && continue
        if awk '/^\[/ { section = $0 } section == "[dependencies]"' "crates/$crate/Cargo.toml" |
            grep -q "^$other[. =]"; then
            complain "crates/$crate must not depend on $other"
        fi
    done
done

# The gateway contains no load generator, and its tests build none.
if grep -q snapload crates/snapgate/Cargo.toml crates/testkit/Cargo.toml; then
    complain 'crates/snapgate, and what its tests use, must not depend on snapload'
fi

# `unsafe` lives in one place; the tests of that place make a system call of their own.
if git grep -nE '^\s*(pub(\([a-z]+\))? )?unsafe |unsafe \{' -- \
    '*.rs' ':!crates/udp-shards/src/sys' ':!crates/udp-shards/tests'; then
    complain 'unsafe outside of crates/udp-shards/src/sys'
fi

# A process that is being started has copies of all descriptors of its parent until it executes its program, so a
# lock, an address or a port of another test can be held for longer than the test holds it. Only these test programs,
# whose tests do not mind, start processes: by themselves, or with what the test kit has for it.
starters=(crates/snapgate/tests/{cli,process,stalled,trains} crates/snapload/tests/{program,documents.rs}
    crates/interop/tests/{killed,tutorial}.rs)
others=("${starters[@]/#/:!}" ':!crates/testkit' ':!crates/snapgate/src/hardening.rs')
if git grep -nE '\bprocess::(\{.*\b)?Command\b' -- 'crates/*.rs' "${others[@]}" ||
    git grep -nE '\b(GatewaySetup|Namespace|Network|in_namespace|check_examples)\b' -- 'crates/*/tests/*.rs' "${others[@]}"; then
    complain 'a process is started in a program whose tests share locks, addresses or ports'
fi
# Tests share code by a crate, the test kit.
if git grep -nF '#[path' -- 'crates/*.rs'; then
    complain 'a file is included where it does not belong; move it to crates/testkit'
fi
# What workspaces copy from each other agrees, and none but those for it has the mock clock.
scripts/check-workspaces.py || failed=1
# Files that import each other in a circle can be read and changed only together.
scripts/check-imports.py || failed=1
# Links of the documents lead somewhere, and cited tests exist.
scripts/check-documents.py || failed=1

# Shell scripts are at least well-formed.
while read -r script; do
    bash -n "$script" || complain "$script is no valid shell script"
done < <(git ls-files '*.sh' .ci/run)

exit "$failed"
