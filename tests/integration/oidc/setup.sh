#!/bin/bash
# Fetch the OpenID Connect provider of the tests with npm, as package-lock.json pins it, into
# build/oidc. Safe to repeat; quick when done already.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
build=$(cd "$here/../../.." && pwd)/build/oidc

mkdir -p "$build"
exec 9>"$build/.lock"
flock 9
key=$(cat "$here/setup.sh" "$here/package-lock.json" | sha256sum | cut -c1-16)
if [ "$(cat "$build/.stamp" 2>/dev/null)" != "$key" ]; then
    printf '[setup] fetching the tests'"'"' OpenID Connect provider\n'
    cp "$here/package.json" "$here/package-lock.json" "$here/.npmrc" "$build/"
    # None of these packages has install scripts, and none may get any.
    (cd "$build" && npm ci --ignore-scripts --no-audit --no-fund) >"$build/npm.log" 2>&1 || {
        tail -n 15 "$build/npm.log" >&2
        printf '[setup] cannot fetch the OpenID Connect provider: npm'"'"'s message is above; check the network and run this again\n' >&2
        exit 1
    }
    printf '%s\n' "$key" >"$build/.stamp"
fi
# Node looks for packages beside the program.
cp "$here/provider.mjs" "$build/"
