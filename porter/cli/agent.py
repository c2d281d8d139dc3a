"""`porter agent`: the daemon on every host."""

from __future__ import annotations

import logging
import os
import socket
import sys
from pathlib import Path

import click

from porter import logs
from porter.agent.main import run
from porter.agent.settings import PEER_PORT, STATE, AgentSettings
from porter.domain.errors import Conflict, Denied, Invalid, NotFound, PorterError
from porter.settings import log_format

_USER_ERRORS = (Invalid, Denied, NotFound, Conflict)


@click.command()
@click.option("--join", "url", metavar="URL", default="", help="Address of the control plane.")
@click.option("--token", envvar="PORTER_JOIN_TOKEN", help="One-time token, for the first start.")
@click.option("--name", default="", help="This host's name; its hostname if not given.")
@click.option("--site", default="onprem", show_default=True, help="Where the host stands.")
@click.option(
    "--cloud",
    envvar="PORTER_CLOUD",
    type=click.Choice(["aws", "azure", "gcp", "openstack"]),
    help="Ask this cloud's metadata service whether the machine is to be taken away.",
)
@click.option("--metadata-url", envvar="PORTER_METADATA_URL", default="", hidden=True)
@click.option("--underlay", metavar="IP", default="", help="Address for other hosts to reach us.")
@click.option("--peer-port", default=PEER_PORT, show_default=True, help="Port for other hosts.")
@click.option(
    "--state",
    type=click.Path(file_okay=False, path_type=Path),
    default=STATE,
    show_default=True,
    help="Directory for the journal, key and certificate.",
)
def agent(
    url: str,
    token: str | None,
    name: str,
    site: str,
    cloud: str | None,
    metadata_url: str,
    underlay: str,
    peer_port: int,
    state: Path,
) -> None:
    """Make this machine a Porter host and serve until SIGTERM."""
    from porter.wiring_agent import agent_parts  # the concrete rooms are costly to import

    logs.to_stderr(log_format(os.environ, "json"), logging.WARNING)
    logs.always(host=name or socket.gethostname())
    settings = AgentSettings(
        url=url.rstrip("/"),
        state=state,
        token=token,
        name=name,
        site=site,
        cloud=cloud or "",
        metadata_url=metadata_url,
        underlay=underlay,
        peer_port=peer_port,
    )
    try:
        told = (settings.state, settings.scratch, settings.cloud, settings.metadata_url)
        run(settings, lambda underlay: agent_parts(underlay, *told))
    except PorterError as error:
        click.echo(f"porter agent: {error}", err=True)
        sys.exit(2 if isinstance(error, _USER_ERRORS) else 1)
