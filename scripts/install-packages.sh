#!/usr/bin/env bash
# Installs those of the Debian packages in its arguments that are missing. Does nothing where there is no dpkg.
set -euo pipefail

command -v dpkg-query >/dev/null || exit 0
missing=()
for package in "$@"; do
    dpkg-query --show --showformat='${Status}' "$package" 2>/dev/null | grep -q 'ok installed' || missing+=("$package")
done
((${#missing[@]})) || exit 0
echo "installing ${missing[*]}"
apt-get update --quiet
apt-get install --quiet --yes "${missing[@]}"
