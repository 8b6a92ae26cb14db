#!/usr/bin/env bash
# Checks rules of the source tree that rustc and clippy do not check.
set -euo pipefail
cd "$(dirname "$0")/.."
failed=0
complain() {
    printf '%s\n' "$1" >&2
    failed=1
}

# Maximum length of a source file.
while read -r lines file; do
    ((lines <= 800)) || complain "$file has $lines lines, more than 800: split it"
done < <(git ls-files '*.rs' | xargs wc -l | awk '$2 != "total" { print $1, $2 }')

# The libraries of the packet path are independent of each other and of the gateway.
for crate in snaptun scion-packet udp-shards; do
    for other in snaptun scion-packet udp-shards snapgate snapload; do
        [[ $crate == "$other" ]] && continue
        if awk '/^\[/ { section = $0 } section == "[dependencies]"' "crates/$crate/Cargo.toml" |
            grep -q "^$other[. =]"; then
            complain "crates/$crate must not depend on $other"
        fi
    done
done

# Neither the gateway nor its tests depend on the load generator.
if grep -q snapload crates/snapgate/Cargo.toml crates/testkit/Cargo.toml; then
    complain 'crates/snapgate and crates/testkit must not depend on snapload'
fi

# Unsafe code is allowed only in `sys`, and in the tests of its crate, which make a system call themselves.
if git grep -nE '^\s*(pub(\([a-z]+\))? )?unsafe |unsafe \{' -- \
    '*.rs' ':!crates/udp-shards/src/sys' ':!crates/udp-shards/tests'; then
    complain 'unsafe code outside crates/udp-shards/src/sys'
fi

# A child process has copies of all descriptors of its parent until it executes its program. Meanwhile it may hold a
# lock, an address or a port that another test has released. So only these test programs, which tolerate that, start
# processes, directly or by the test kit.
starters=(crates/snapgate/tests/{cli,host,neighbour_table,process,stalled,storage,trains}
    crates/snapgate-control/tests/killed.rs
    crates/snapload/tests/{program,documents.rs}
    crates/interop/tests/{killed,tutorial}.rs crates/e2e/tests/{it,{first_bind,tutorial}.rs})
others=("${starters[@]/#/:!}" ':!crates/testkit' ':!crates/e2e/src' ':!crates/snapgate/src/hardening.rs'
    ':!crates/snapgate/src/file_process.rs')
if git grep -nE '\bprocess::(\{.*\b)?Command\b' -- 'crates/*.rs' "${others[@]}" ||
    git grep -nE '\b(GatewaySetup|Namespace|Network|in_namespace|check_examples)\b' -- 'crates/*/tests/*.rs' "${others[@]}"; then
    complain 'a test program whose tests share locks, addresses or ports starts a process'
fi
# Tests share code by a crate, the test kit.
if git grep -nF '#[path' -- 'crates/*.rs'; then
    complain '#[path] attribute: move the shared file to crates/testkit'
fi
scripts/check-workspaces.py || failed=1
scripts/check-imports.py || failed=1
# Links of the documents lead somewhere, and cited tests exist.
scripts/check-documents.py || failed=1

while read -r script; do
    bash -n "$script" || complain "$script has a syntax error"
done < <(git ls-files '*.sh' .ci/run)

exit "$failed"
