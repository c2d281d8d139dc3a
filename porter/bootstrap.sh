#!/bin/sh
# Install Porter's agent on a Debian or Ubuntu machine, from the tree that this file lies in.
# Safe to repeat. User data runs it on new machines (porter/bootstrap.py).
#
#   PORTER_PREFIX   where Porter goes (default /opt/porter)
#   PORTER_BIN      where the command `porter` goes (default /usr/local/bin)
set -eu
umask 022

tree=$(cd "$(dirname "$0")/.." && pwd)
prefix=${PORTER_PREFIX:-/opt/porter}
bin=${PORTER_BIN:-/usr/local/bin}
packages="bash ca-certificates conmon iproute2 iptables netavark nftables podman procps python3
    python3-venv runc util-linux"

say() { echo "[porter] $*"; }
die() {
    echo "[porter] cannot $*" >&2
    exit 1
}

install_packages() {
    missing=
    for package in "$@"; do
        [ "$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null)" = installed ] ||
            missing="$missing $package"
    done
    [ -n "$missing" ] || return 0
    say "installing$missing"
    apt-get -qq update || die "read the package lists; check the network and apt's sources"
    # shellcheck disable=SC2086
    DEBIAN_FRONTEND=noninteractive apt-get -qq -y install --no-install-recommends $missing ||
        die "install$missing"
}

# Without CRIU the machine is still a host, for moves by restart; the agent says what is missing.
install_criu() {
    # shellcheck disable=SC1091
    . /etc/os-release
    if [ "$ID" = debian ]; then
        install_packages debian-archive-keyring
        bash "$tree/porter/lab/setup.sh" criu || say "no CRIU works on this kernel"
    elif apt-get -qq -y install --no-install-recommends criu python3-pycriu; then
        mkdir -p /usr/local/lib/porter-criu/python
        ln -sfn /usr/lib/python3/dist-packages/pycriu /usr/local/lib/porter-criu/python/pycriu
    else
        say "this system has no CRIU package"
    fi
}

# shellcheck disable=SC2086
install_packages $packages
python3 -c 'import sys; sys.exit(sys.version_info < (3, 11))' ||
    die "run Porter: it needs Python 3.11 or newer; take a newer image"
install_criu

say "installing Porter into $prefix"
mkdir -p "$prefix" "$bin"
# A venv that was left half made is made anew; a whole one is kept.
[ -e "$prefix/venv/.complete" ] || python3 -m venv --clear "$prefix/venv"
hashes=
if grep -q -- '--hash=' "$tree/requirements.txt"; then hashes=--require-hashes; fi
"$prefix/venv/bin/python" -m pip --quiet --disable-pip-version-check install $hashes \
    -r "$tree/requirements.txt" || die "install the pinned requirements; pip's message is above"
touch "$prefix/venv/.complete"
rm -rf "$prefix/tree.new"
mkdir "$prefix/tree.new"
cp -R "$tree/porter" "$prefix/tree.new/"
rm -rf "$prefix/tree.old"
if [ -e "$prefix/tree" ]; then mv "$prefix/tree" "$prefix/tree.old"; fi
mv "$prefix/tree.new" "$prefix/tree"
rm -rf "$prefix/tree.old"
site=$("$prefix/venv/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
# pycriu comes with CRIU: the two must be of one version.
printf '%s\n' "$prefix/tree" /usr/local/lib/porter-criu/python >"$site/porter.pth"

# Last: the command's presence says that all is there.
cat >"$bin/porter.new" <<END
#!/bin/sh
exec $prefix/venv/bin/python -m porter.cli.main "\$@"
END
chmod 755 "$bin/porter.new"
mv "$bin/porter.new" "$bin/porter"
"$bin/porter" --version
