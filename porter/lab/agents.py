"""Agents for the lab's hosts."""

from __future__ import annotations

import sys

from porter.lab.lab import Lab

PORTER = (sys.executable, "-m", "porter.cli.main")
AGENTS_PORT = 8461


def give_agent(lab: Lab, host: str, token: str, port: int = AGENTS_PORT) -> None:
    """Have the host run an agent of the control plane that listens on this machine's lab address.

    `token` is good for one join; an agent that has joined before does not need it. Hosts called
    `onprem…` stand in the site of that name, each other host in a site of its own.
    """
    site = "onprem" if host.startswith("onprem") else f"lab:{host}"
    argv = [
        *(*PORTER, "agent", "--join", f"https://{lab.gateway}:{port}"),
        *("--name", host, "--site", site, "--underlay", lab.address(host)),
    ]
    # By the environment: a command line can be read by everybody.
    lab.start_agent(host, argv, {"PORTER_JOIN_TOKEN": token})
