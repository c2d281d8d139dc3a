#!/bin/bash
# Fetch the dashboard's front-end files with npm, as assets/package-lock.json pins them, and put
# those that pages load into pages/static/vendor. Safe to repeat; quick when done already.
# axe-core, which only tests need, stays in build/assets/node_modules.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
repo=$(cd "$here/../.." && pwd)
build=$repo/build/assets
vendor=$here/pages/static/vendor
FILES=(
    htmx.org/dist/htmx.min.js
    uplot/dist/uPlot.iife.min.js
    uplot/dist/uPlot.min.css
)

say() { printf '[setup] %s\n' "$*"; }

die() {
    printf '[setup] cannot %s\n' "$*" >&2
    exit 1
}

key=$(cat "$here/assets.sh" "$here/assets/package-lock.json" | sha256sum | cut -c1-16)
if [ "$(cat "$vendor/.stamp" 2>/dev/null)" = "$key" ] && [ -s "$build/node_modules/axe-core/axe.min.js" ]; then
    say "assets: the dashboard's front-end files are there"
    exit 0
fi
command -v node >/dev/null && command -v npm >/dev/null ||
    die "fetch the dashboard's front-end files: node or npm is missing; run 'apt-get install nodejs npm'"

say "assets: fetching the dashboard's front-end files"
mkdir -p "$build" "$vendor"
exec 9>"$build/.lock"
flock 9
cp "$here/assets/package.json" "$here/assets/package-lock.json" "$here/assets/.npmrc" "$build/"
log=$(mktemp "${TMPDIR:-/tmp}/porter-assets.XXXXXX")
trap 'rm -f -- "$log"' EXIT
# None of these packages has install scripts, and none may get any.
(cd "$build" && npm ci --ignore-scripts --no-audit --no-fund) >"$log" 2>&1 ||
    { tail -n 15 "$log" >&2; die "fetch the dashboard's front-end files: npm's message is above; check the network and run this again"; }
for file in "${FILES[@]}"; do
    install -m 644 "$build/node_modules/$file" "$vendor/${file##*/}"
done
printf '%s\n' "$key" >"$vendor/.stamp"
