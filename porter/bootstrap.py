"""What a new machine runs at its first boot to become a host: `user_data` makes the script.

The script needs `/bin/sh`, coreutils and util-linux; curl is installed where it is missing. The
token is never an argument of a program, and nothing is believed or run that does not come from the
control plane whose CA the token names. Harmless to repeat; never two agents.
"""

from __future__ import annotations

import re
import shlex

from porter.domain.errors import Invalid

HOME = "/var/lib/porter/bootstrap"
"""On the new machine: the script's own files, and `log`."""
LARGEST = 8192
_TOKEN = re.compile(r"([A-Za-z0-9_-]+)\.([0-9a-f]{64})")
_URL = re.compile(r"https://[A-Za-z0-9.:\[\]-]+")
_CLOUD = re.compile(r"[a-z]*")
_PLACE = re.compile(r"(https?://[A-Za-z0-9.:/\[\]_-]+)?")
_WORD = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:-]*")


def user_data(
    url: str, token: str, name: str, site: str, cloud: str = "", metadata_url: str = ""
) -> str:
    """The script for a machine that is to join at `url` as host `name` of `site`. `cloud`: the kind
    of site whose metadata service its agent asks, at `metadata_url` if that is given.

    At most 8 KiB. Raises Invalid for what cannot be a URL, a token or a name.
    """
    found = _TOKEN.fullmatch(token)
    if not found:
        raise Invalid("cannot make user data: the token is malformed")
    if not _URL.fullmatch(url):
        raise Invalid(f"cannot make user data for the URL {url!r}", "give it as https://HOST:PORT")
    for word in (name, site):
        if not _WORD.fullmatch(word):
            raise Invalid(f"cannot make user data: {word!r} cannot be a host's or site's name")
    if not _CLOUD.fullmatch(cloud) or not _PLACE.fullmatch(metadata_url):
        raise Invalid(f"cannot make user data for the cloud {cloud!r} at {metadata_url!r}")
    values = {"url": url, "name": name, "site": site, "pin": found[2], "token": token}
    values |= {"cloud": cloud, "metadata_url": metadata_url}
    assignments = "".join(f"{key}={shlex.quote(value)}\n" for key, value in values.items())
    script = f"{_HEAD}{assignments}home={HOME}\n{_BODY}"
    if len(script.encode()) > LARGEST:
        raise Invalid(f"cannot make user data: it is longer than {LARGEST} bytes")
    return script


_HEAD = """\
#!/bin/sh
# Makes this machine a host of Porter. Runs as root at the first boot; harmless to repeat.
set -eu
umask 077
"""

_BODY = r"""
PATH=$PATH:/usr/local/sbin:/usr/local/bin:/usr/sbin:/sbin
export PATH
[ "$(id -u)" = 0 ] || { echo "porter: cannot set up this host: it needs root" >&2; exit 1; }
mkdir -p "$home"
exec 3>&2 >>"$home/log" 2>&1 </dev/null
say() { echo "$(date -u +%Y-%m-%dT%H:%M:%SZ) $*"; }
fail() { say "cannot $*"; echo "porter: cannot $*; see $home/log" >&3; exit 1; }
exec 9>"$home/lock"
flock 9

get() { # PATH FILE OPTIONS...
    path=$1 file=$2
    shift 2
    curl --silent --show-error --fail --noproxy '*' --connect-timeout 10 --max-time 300 \
        "$@" --output "$file" "$url/agent/v1/$path"
}

# The CA is fetched from whoever answers and believed by its hash only. Of the answer one
# certificate is taken, and written anew: a second one would be trusted unseen.
trust() {
    tries=0
    until get ca "$home/answer" --insecure; do
        tries=$((tries + 1))
        [ $tries -lt 60 ] || fail "reach the control plane at $url"
        sleep 5
    done
    sed -n '1,/^-----END/p' "$home/answer" | sed '/^-----/d' | base64 -d >"$home/ca.der" ||
        fail "read the CA of $url"
    [ "$(sha256sum <"$home/ca.der" | cut -c1-64)" = "$pin" ] ||
        fail "trust $url: it is not the control plane that made the token"
    { echo '-----BEGIN CERTIFICATE-----'
      base64 -w 64 "$home/ca.der"
      echo '-----END CERTIFICATE-----'; } >"$home/ca.pem"
}

find_porter() {
    if command -v porter >/dev/null; then
        porter=porter
    elif python3 -m porter.cli.main --version >/dev/null 2>&1; then
        porter='python3 -m porter.cli.main'
    else
        return 1
    fi
}

install_porter() {
    say "installing Porter from $url"
    printf 'Authorization: Bearer %s\n' "$token" >"$home/header"
    get bootstrap "$home/bundle.tar.gz" --cacert "$home/ca.pem" --header "@$home/header" ||
        fail "download Porter from $url"
    rm -rf "$home/header" "$home/tree"
    mkdir "$home/tree"
    tar -xzf "$home/bundle.tar.gz" -C "$home/tree" --no-same-owner
    sh "$home/tree/porter/bootstrap.sh" 9>&- || fail "install Porter"
    rm -rf "$home/tree" "$home/bundle.tar.gz"
    find_porter || fail "find Porter after it was installed"
}

if [ ! -e /var/lib/porter/agent/identity.json ]; then
    if ! command -v curl >/dev/null; then
        DEBIAN_FRONTEND=noninteractive
        export DEBIAN_FRONTEND
        apt-get -qq update && apt-get -qq -y install --no-install-recommends curl ||
            fail "install curl"
    fi
    trust
fi
find_porter || install_porter

# By the environment: a command line can be read by everybody.
cat >"$home/agent.new" <<END
#!/bin/sh
PORTER_JOIN_TOKEN=$token
PORTER_CLOUD=$cloud
PORTER_METADATA_URL=$metadata_url
export PORTER_JOIN_TOKEN PORTER_CLOUD PORTER_METADATA_URL
exec $porter agent --join "$url" --name "$name" --site "$site"
END
chmod 700 "$home/agent.new"
mv "$home/agent.new" "$home/agent"

if [ -d /run/systemd/system ]; then
    cat >/etc/systemd/system/porter-agent.service <<END
[Unit]
Description=Porter agent
Wants=network-online.target
After=network-online.target

[Service]
ExecStart=$home/agent
Restart=always
RestartSec=2
# Containers must outlive their agent.
KillMode=process
Delegate=yes
StandardOutput=append:$home/agent.log
StandardError=inherit

[Install]
WantedBy=multi-user.target
END
    systemctl daemon-reload
    systemctl enable --now porter-agent.service
else
    # --close: what the agent leaves behind must not hold the lock.
    setsid flock --nonblock --close "$home/agent.lock" \
        sh -c 'while :; do "$1"; sleep 2; done' porter-agent "$home/agent" \
        >>"$home/agent.log" 2>&1 3>&- 9>&- </dev/null &
fi
say "this host's agent runs; see $home/agent.log"
"""
