#!/bin/bash
# Install the real OpenStack services for the lab and prepare their empty databases.
#
#   openstack.sh          into /var/cache/porter/openstack, or $PORTER_OPENSTACK
#
# Safe to repeat: what is done is recognised at once, what was left half done is done again.
# Needs Python 3.11 or newer with venv, about 3 minutes and 1 GB.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
target=${PORTER_OPENSTACK:-/var/cache/porter/openstack}
prepare=$here/../openstack/prepare.py
python=${PYTHON:-$here/../../../../.venv/bin/python}
[ -x "$python" ] || python=python3

say() { printf '[openstack] %s\n' "$*"; }

die() {
    printf '[openstack] cannot %s\n' "$*" >&2
    exit 1
}

# Run with its output in a file; show the end of it, and stop, where it fails.
quietly() {
    local what=$1
    shift
    "$@" >"$target/install.log" 2>&1 || {
        tail -n 15 "$target/install.log" >&2
        die "$what: the message is above; check the network and run this again"
    }
}

mkdir -p "$target"
exec 9>"$target.lock"
flock 9
is_stamped() { [ "$(cat "$target/$1" 2>/dev/null)" = "$2" ]; }

digest() { sha256sum | cut -c1-16; }

# The version of Python counts too: another one needs other packages built.
key=$({ "$python" -V; cat "$here/openstack-requirements.txt"; } | digest)
if is_stamped .stamp "$key"; then
    say "the services are installed"
else
    say "installing the services (about 3 minutes)"
    rm -rf -- "$target"
    mkdir -p "$target"
    quietly "make a virtual environment" "$python" -m venv "$target"
    quietly "install the services" "$target/bin/python" -m pip install --no-input \
        --require-hashes -r "$here/openstack-requirements.txt"
    printf '%s\n' "$key" >"$target/.stamp"
fi
databases=$({ printf '%s' "$key"; cat "$prepare" "${prepare%/*}/configs.py"; } | digest)
if is_stamped databases/.stamp "$databases"; then
    say "their databases are prepared"
else
    say "preparing their databases (about 1 minute)"
    rm -rf -- "$target/databases" "$target/databases.new"
    mkdir "$target/databases.new"
    quietly "prepare the databases" "$target/bin/python" "$prepare" "$target/databases.new"
    printf '%s\n' "$databases" >"$target/databases.new/.stamp"
    mv "$target/databases.new" "$target/databases"
fi
