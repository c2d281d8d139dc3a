#!/bin/bash
# Prepare a Debian 12 or 13 machine for Porter, its lab and its tests. Safe to repeat.
#
#   setup.sh packages   system packages, from the machine's own apt sources
#   setup.sh criu       a CRIU that works on this kernel, and pycriu
#   setup.sh venv       the virtual environment .venv, from the hashed requirements
#   setup.sh images     the container image that the lab and the tests run
#   setup.sh all        all of these, in this order
#
# What is done already is recognised in well under a second and left alone.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
repo=$(cd "$here/../.." && pwd)
cache=/var/cache/porter
stamps=$cache/stamps
prefix=/usr/local/lib/porter-criu
wrapper=/usr/local/sbin/criu
work=

PACKAGES=(
    ca-certificates chromium conmon containernetworking-plugins debian-archive-keyring
    fonts-liberation gcc iproute2 iptables libc6-dev mmdebstrap netavark nftables nginx openssh-client openssh-server podman postgresql procps
    prometheus python3 python3-dev python3-venv rabbitmq-server redis-server rsync runc uidmap util-linux zstd
)
# chromium, with a font, is the browser of the tests; prometheus brings promtool for the alert rules.
# gcc, with its headers, compiles the optimiser's search.
# redis and nginx are what people move; python3 runs the tests' own programs.
IMAGE_PACKAGES=redis-server,nginx-light,python3

say() { printf '[setup] %s\n' "$*"; }

die() {
    printf '[setup] cannot %s\n' "$*" >&2
    exit 1
}

clean_up() {
    if [ -n "$work" ]; then rm -rf -- "$work"; fi
}
trap clean_up EXIT

need_root() {
    [ "$(id -u)" = 0 ] || die "$1: it needs root; run it again with sudo"
}

# A temporary directory that apt's own unprivileged user can read, else apt warns.
make_work() {
    clean_up
    work=$(mktemp -d "${TMPDIR:-/tmp}/porter-setup.XXXXXX")
    chmod 755 "$work"
}

digest() { sha256sum | cut -c1-16; }

is_stamped() { [ "$(cat "$stamps/$1" 2>/dev/null)" = "$2" ]; }

stamp() {
    mkdir -p "$stamps"
    printf '%s\n' "$2" >"$stamps/$1"
}

# The codename of this Debian and the address apt already uses for it.
own_codename() {
    # shellcheck disable=SC1091
    (. /etc/os-release && printf '%s\n' "${VERSION_CODENAME:-}")
}

known_mirror() {
    apt-get indextargets --format '$(CODENAME) $(REPO_URI)' 'Created-By: Packages' |
        awk -v own="$(own_codename)" '$1 == own && !seen++ { print $2 }'
}

mirror() {
    local found
    found=$(known_mirror)
    if [ -z "$found" ]; then
        apt-get -qq update || die "read the package lists: apt-get update failed; see its message above"
        found=$(known_mirror)
    fi
    [ -n "$found" ] || die "find a Debian mirror: apt has no source for '$(own_codename)'; add one to /etc/apt/sources.list.d"
    printf '%s\n' "$found"
}

# ---------------------------------------------------------------- packages

missing_packages() {
    local package
    for package in "$@"; do
        [ "$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null)" = installed ] ||
            printf '%s\n' "$package"
    done
}

# Install without starting any service: the tests start their own, on their own ports.
apt_install() {
    local policy=/usr/sbin/policy-rc.d made= code=0
    if [ ! -e $policy ]; then
        printf '#!/bin/sh\nexit 101\n' >$policy
        chmod 755 $policy
        made=1
    fi
    DEBIAN_FRONTEND=noninteractive apt-get -qq -y install --no-install-recommends \
        -o Dpkg::Options::=--force-confold -o Dpkg::Use-Pty=0 "$@" >"$work/apt.log" 2>&1 || code=$?
    if [ -n "$made" ]; then rm -f $policy; fi
    if [ $code -ne 0 ]; then
        tail -n 20 "$work/apt.log" >&2
        return 1
    fi
}

packages() {
    need_root "install packages"
    local missing
    mapfile -t missing < <(missing_packages "${PACKAGES[@]}")
    # For the dashboard's front-end files. Whatever node is there already will do.
    if ! command -v npm >/dev/null; then missing+=(nodejs npm); fi
    if [ ${#missing[@]} -eq 0 ]; then
        say "packages: all ${#PACKAGES[@]} are installed"
        return
    fi
    say "packages: installing ${missing[*]}"
    make_work
    apt-get -qq update || die "read the package lists: apt-get update failed; check the network and apt's sources"
    apt_install "${missing[@]}" ||
        die "install packages: apt-get failed, its last lines are above; mend that and run this again"
}

# ---------------------------------------------------------------- CRIU

# "criu" is also the name of the step below, hence "command".
criu_version() { command criu --version | awk 'NR == 1 { print $2 }'; }

probe_criu() { python3 "$here/criu_probe.py" "$1"; }

# Write a program at $2 that runs the CRIU unpacked in $1 with that prefix's own libraries.
write_wrapper() {
    local loader
    loader=$(find "$1" -path '*/lib/*/ld-linux*.so.*' -print -quit)
    [ -n "$loader" ] || return 1
    local preload=
    [ ! -e "$1/criu-limits.so" ] || preload="--preload $1/criu-limits.so "
    cat >"$2.new" <<END
#!/bin/sh
exec $loader $preload--library-path $(dirname "$loader") $1/usr/sbin/criu "\$@"
END
    chmod 755 "$2.new"
    mv "$2.new" "$2"
}

# Unpack criu, all it needs and pycriu from the suite $1 into the directory $2. apt works on
# lists, state and cache of its own: the machine's package state is neither read nor changed.
unpack_suite() {
    local suite=$1 into=$2 apt=$work/apt-$1 deb
    mkdir -p "$apt"/{lists/partial,cache/archives/partial,pycriu}
    : >"$apt/status"
    printf 'deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] %s %s main\n' \
        "$(mirror)" "$suite" >"$apt/sources.list"
    local options=(
        -qq -o Dir::State::Lists="$apt/lists" -o Dir::State::status="$apt/status"
        -o Dir::Etc::SourceList="$apt/sources.list" -o Dir::Etc::SourceParts=/dev/null
        -o Dir::Cache="$apt/cache" -o Dir::Cache::archives="$apt/cache/archives"
        -o APT::Install-Recommends=false -o Debug::NoLocking=1
    )
    chmod -R a+rX "$apt"
    apt-get "${options[@]}" update || return 1
    apt-get "${options[@]}" -y --download-only install criu || return 1
    (cd "$apt/pycriu" && apt-get "${options[@]}" -o APT::Sandbox::User=root download python3-pycriu) || return 1
    for deb in "$apt"/cache/archives/*.deb "$apt"/pycriu/*.deb; do
        case ${deb##*/} in
        python3_* | python3-minimal_* | python3.* | libpython3*) continue ;;
        esac
        dpkg -x "$deb" "$into" || return 1
    done
    # A directory with nothing but pycriu in it, to put on the virtual environment's path.
    mkdir -p "$into/python"
    cp -a "$into/usr/lib/python3/dist-packages/pycriu" "$into/python/"
}

# Whether root here may not ask for other users' limits: bit 24 is CAP_SYS_RESOURCE.
is_confined() { (((0x$(awk '/^CapEff/ { print $2 }' /proc/self/status) >> 24 & 1) == 0)); }

# What CRIU needs on such a machine; see criu_limits.c. Built by the smallest compiler there is.
add_limits_shim() {
    if [ -n "$(missing_packages tcc)" ]; then apt_install tcc || return 1; fi
    tcc -nostdinc -nostdlib -shared -o "$1/criu-limits.so" "$here/criu_limits.c"
}

# Debian's own package works here: use it, and drop the private copy.
install_own_criu() {
    apt_install criu python3-pycriu || return 1
    rm -rf -- "$prefix.old" "$wrapper"
    if [ -e "$prefix" ]; then mv "$prefix" "$prefix.old"; fi
    mkdir -p "$prefix/python"
    ln -s /usr/lib/python3/dist-packages/pycriu "$prefix/python/pycriu"
    rm -rf -- "$prefix.old"
}

# The rename is what makes the new CRIU take the old one's place: nobody sees half of it.
install_prefix() {
    rm -rf -- "$prefix.old"
    if [ -e "$prefix" ]; then mv "$prefix" "$prefix.old"; fi
    mv "$1" "$prefix"
    mkdir -p "${wrapper%/*}"
    write_wrapper "$prefix" "$wrapper"
    rm -rf -- "$prefix.old"
}

criu() {
    need_root "install CRIU"
    local key own suite trial reason
    key=$(printf '%s' "3 $(uname -rv) $(is_confined && echo confined) $(cat "$here"/criu_probe.py "$here"/criu_limits.c | digest)" | digest)
    if is_stamped criu "$key" && [ -e $prefix/python/pycriu ] && command criu --version >/dev/null 2>&1; then
        say "criu: $(criu_version) works on this kernel"
        return
    fi
    own=$(own_codename)
    make_work
    trial=$prefix.new
    for suite in $(printf '%s\n' "$own" trixie forky sid | awk 'NF && !seen[$0]++'); do
        rm -rf -- "$trial"
        mkdir -p "$trial"
        if ! unpack_suite "$suite" "$trial" >"$work/$suite.log" 2>&1; then
            say "criu: none in Debian $suite"
            continue
        fi
        if is_confined && ! add_limits_shim "$trial" 2>"$work/tcc.log"; then
            tail -n 5 "$work/tcc.log" >&2
            die "build criu_limits.c, which CRIU needs where root lacks CAP_SYS_RESOURCE: tcc failed; install tcc"
        fi
        if ! write_wrapper "$trial" "$work/criu" || ! reason=$(probe_criu "$work/criu" 2>&1); then
            say "criu: Debian $suite's does not work on this kernel ($reason)"
            continue
        fi
        if [ "$suite" = "$own" ] && ! is_confined; then
            rm -rf -- "$trial"
            install_own_criu || die "install criu: apt-get failed; run 'apt-get install criu python3-pycriu'"
        else
            install_prefix "$trial"
        fi
        hash -r
        reason=$(probe_criu criu 2>&1) || die "use the CRIU just installed: $reason; run 'criu check' and see"
        stamp criu "$key"
        say "criu: Debian $suite's $(criu_version) works on this kernel"
        return
    done
    rm -rf -- "$trial"
    die "find a CRIU that works on kernel $(uname -r): tried $own, trixie, forky and sid; build a newer CRIU into $wrapper, or boot another kernel"
}

# ---------------------------------------------------------------- virtual environment

venv() {
    local python=python3 key target=$repo/.venv compiled=porter/schedule/optimiser/search.py
    "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null ||
        die "make the virtual environment: it needs Python 3.11 or newer as python3; run 'setup.sh packages'"
    key=$( { "$python" -V; cat "$repo"/requirements.txt "$repo"/requirements-dev.txt "$repo"/pyproject.toml "$repo"/setup.py "$repo"/$compiled; printf '%s' "$target"; } | digest)
    if [ "$(cat "$target/.stamp" 2>/dev/null)" = "$key" ] && [ -x "$target/bin/porter" ] && ls "$repo/${compiled%.py}".*.so >/dev/null 2>&1; then
        say "venv: .venv is up to date"
        return
    fi
    say "venv: installing the pinned requirements into .venv"
    if [ ! -x "$target/bin/python" ] || ! "$target/bin/python" -c '' 2>/dev/null; then
        "$python" -m venv --clear "$target" || die "make the virtual environment: install python3-venv"
    fi
    local pip=("$target/bin/pip" --quiet --disable-pip-version-check)
    make_work
    "${pip[@]}" install --require-hashes -r "$repo/requirements.txt" -r "$repo/requirements-dev.txt" 2>"$work/pip.log" ||
        { tail -n 15 "$work/pip.log" >&2; die "install the requirements: pip's message is above; check the network and run this again"; }
    rm -f "$repo/${compiled%.py}".*.so
    "${pip[@]}" install --no-deps --no-build-isolation -e "$repo" 2>"$work/pip.log" ||
        { tail -n 15 "$work/pip.log" >&2; die "install porter into .venv: pip's message is above"; }
    ls "$repo/${compiled%.py}".*.so >/dev/null 2>&1 ||
        die "compile $compiled: install gcc, libc6-dev and python3-dev, and run this again"
    # pycriu comes with CRIU, not from the package index; the two must be of one version.
    printf '%s\n' "$prefix/python" >"$("$target/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/porter-criu.pth"
    printf '%s\n' "$key" >"$target/.stamp"
}

# ---------------------------------------------------------------- images

# podman with a store of its own, so that the machine's own containers are never touched.
template_podman() {
    podman --root "$cache/template.new/storage" --runroot "$work/run" --storage-driver overlay \
        --cgroup-manager cgroupfs --events-backend none "$@"
}

build_base() {
    say "images: building base.tar from Debian packages (about 30 s)"
    rm -f "$cache/images/base.tar.new"
    mmdebstrap --quiet --variant=minbase --mode=root --include="$IMAGE_PACKAGES" \
        --dpkgopt='path-exclude=/usr/share/man/*' --dpkgopt='path-exclude=/usr/share/doc/*' \
        --dpkgopt='path-exclude=/usr/share/locale/*' \
        --customize-hook='rm -f "$1"/etc/apt/sources.list "$1"/etc/hostname "$1"/etc/resolv.conf' \
        --format=tar "$(own_codename)" "$cache/images/base.tar.new" "$(mirror)" >"$work/mmdebstrap.log" 2>&1 ||
        { tail -n 15 "$work/mmdebstrap.log" >&2; die "build the test image: mmdebstrap's message is above; check the network and run this again"; }
    mv "$cache/images/base.tar.new" "$cache/images/base.tar"
}

import_template() {
    local name=localhost/porter-test:latest archive=$cache/images/porter-test.oci.tar.new
    rm -f -- "$archive"
    template_podman import --message base --change 'CMD ["/bin/bash"]' "$cache/images/base.tar" $name &&
        template_podman save --format oci-archive --output "$archive" $name &&
        template_podman images --no-trunc --format '{{.ID}}' $name >"$cache/template.new/id"
}

# Imported once: an import makes a new image id each time, and all hosts must hold the same one.
build_template() {
    say "images: importing it once as a template for the lab's hosts"
    rm -rf -- "$cache/template.new"
    mkdir -p "$cache/template.new/storage"
    import_template >"$work/podman.log" 2>&1 ||
        { tail -n 15 "$work/podman.log" >&2; die "import the test image: podman's message is above"; }
    umount "$cache/template.new/storage/overlay" 2>/dev/null || true
    rm -rf -- "$cache/template"
    mv "$cache/images/porter-test.oci.tar.new" "$cache/images/porter-test.oci.tar"
    mv "$cache/template.new" "$cache/template"
}

images() {
    need_root "build images"
    local key
    key=$(printf '%s' "1 $IMAGE_PACKAGES $(own_codename)" | digest)
    if is_stamped images "$key" && [ -s $cache/images/base.tar ] && [ -s $cache/template/id ]; then
        say "images: localhost/porter-test is built"
        return
    fi
    make_work
    mkdir -p $cache/images
    build_base
    build_template
    stamp images "$key"
}

case ${1:-} in
packages | criu | venv | images) "$1" ;;
all)
    packages
    criu
    venv
    images
    ;;
*)
    sed -n 's/^# \{0,1\}//; 2,10p' "${BASH_SOURCE[0]}" >&2
    exit 2
    ;;
esac
