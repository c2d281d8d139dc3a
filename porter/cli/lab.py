"""`porter lab`: a hybrid cloud on this one Linux machine, for trying Porter out."""

from __future__ import annotations

import json
import os
import re
import signal
from collections.abc import Callable
from types import FrameType
from typing import Any, TypeVar

import click

from porter.cli.app import App
from porter.domain.errors import Conflict, Invalid
from porter.lab.agents import AGENTS_PORT, give_agent
from porter.lab.clouds.control import sites as clouds_of
from porter.lab.lab import DEFAULT_HOSTS, Lab, LabReport
from porter.lab.state import WAN

F = TypeVar("F", bound=Callable[..., Any])

_RATE = re.compile(r"(?P<number>\d+(\.\d+)?)\s*(?P<unit>[kmg])(bit|bps|bit/s)?", re.IGNORECASE)
_MBIT = {"k": 0.001, "m": 1.0, "g": 1000.0}


def parse_rate(text: str) -> int:
    """Turn "1gbit", "100mbit" or "none" into Mbit/s (0: no limit). Raises `Invalid`."""
    if text.strip().lower() in ("none", "0"):
        return 0
    match = _RATE.fullmatch(text.strip())
    rate = float(match["number"]) * _MBIT[match["unit"].lower()] if match else 0.0
    if rate < 1:
        raise Invalid(
            f"cannot limit the links to {text!r}: it is not a rate of at least 1mbit",
            "write it as 1gbit, 100mbit or none",
        )
    return round(rate)


def _options(function: F) -> F:
    """The options that every command of the group takes."""
    named = click.option("--name", default="lab", show_default=True, help="Which lab.")(function)
    return click.option("--json", "as_json", is_flag=True, help="Print JSON.")(named)


def _wants_json(as_json: bool) -> bool:
    """`porter --json lab …` and `porter lab … --json` mean the same."""
    context = click.get_current_context()
    return as_json or bool(context.find_root().params.get("as_json"))


def _say(as_json: bool, answer: dict[str, Any], sentence: str) -> None:
    click.echo(json.dumps(answer) if _wants_json(as_json) else sentence)


@click.group()
def lab() -> None:
    """A hybrid cloud on this one machine: hosts from namespaces, with power cuts."""


@lab.command()
@click.option("--hosts", default=",".join(DEFAULT_HOSTS), show_default=True, help="Their names.")
@click.option("--link", default="1gbit", show_default=True, help="Each host's bandwidth, or none.")
@click.option("--images/--no-images", default=True, help="Give new hosts the test image.")
@click.option("--clouds", default="", help="Stand-ins to run: aws,gcp,azure,openstack.")
@_options
def up(hosts: str, link: str, images: bool, clouds: str, name: str, as_json: bool) -> None:
    """Bring the lab up. Hosts that run already are left alone, others are booted.

    A cloud of --clouds is reached by its own SDK, and its machines are hosts of the lab.
    """
    # Whoever ends us while we build should find nothing half-built either.
    signal.signal(signal.SIGTERM, _interrupt)
    wanted, kinds = (
        [word.strip() for word in words.split(",") if word.strip()] for words in (hosts, clouds)
    )
    report = Lab(name).up(wanted, parse_rate(link), images=images, clouds=kinds)
    _show(report, as_json)


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


@lab.command()
@click.argument("hosts", nargs=-1)
@click.option("--port", default=AGENTS_PORT, show_default=True, help="Where agents are awaited.")
@_options
@click.pass_obj
def join(app: App, hosts: tuple[str, ...], port: int, name: str, as_json: bool) -> None:
    """Give HOSTS (all, if none is named) an agent of the control plane on this machine."""
    place = Lab(name)
    joined = list(hosts) or [host["name"] for host in place.status()["hosts"]]
    for host in joined:
        place.address(host)  # an unknown host costs no token
        give_agent(place, host, app.api.join_token({"name": host})["token"], port)
    _say(as_json, {"name": name, "joining": joined}, f"joining: {', '.join(joined)}; see host ls")


@lab.command()
@_options
@click.pass_obj
def sites(app: App, name: str, as_json: bool) -> None:
    """Add the lab's clouds to the control plane, in place of what it knew of them."""
    found = clouds_of(Lab(name).directory)
    for site in found.values():
        body = {key: getattr(site, key) for key in ("name", "kind", "region")}
        body |= {"settings": dict(site.settings), "secrets": dict(site.secrets)}
        try:
            app.api.add_site(body)
        except Conflict:
            app.api.remove_site(site.name)
            app.api.add_site(body)
    names = [site.name for site in found.values()]
    _say(as_json, {"name": name, "sites": names}, f"added: {', '.join(names) or 'none'}")


@lab.command()
@_options
def down(name: str, as_json: bool) -> None:
    """Remove every trace of the lab. Works after a crash, and twice."""
    Lab(name).down()
    _say(as_json, {"name": name, "state": "down"}, f"the lab {name} is gone")


@lab.command()
@_options
def status(name: str, as_json: bool) -> None:
    """Show the lab's hosts and addresses."""
    _show(Lab(name).status(), as_json)


def _show(report: LabReport, as_json: bool) -> None:
    if _wants_json(as_json):
        click.echo(json.dumps(report))
        return
    link = f"{report['link_mbit']} Mbit/s links" if report["link_mbit"] else "unlimited links"
    click.echo(f"lab {report['name']}: {len(report['hosts'])} hosts, {link}")
    for host in report["hosts"]:
        state = "cut off" if host["partitioned"] and host["init_pid"] else host["state"]
        agent = f"agent {host['agent_pid']}" if host["agent_pid"] else "no agent"
        kind, _, machine = host["machine"].partition("/")
        agent = f"{kind} {machine.rpartition('/')[2]}" if kind else agent
        click.echo(f"  {host['name']:<14} {host['address']:<14} {state:<9} {agent}")
    click.echo(f"  {'this machine':<14} {report['gateway']}")
    click.echo(f"  {WAN:<14} {report['client']:<14} where clients call from")
    for cloud in report["clouds"]:
        state = f"pid {cloud['pid']}" if cloud["pid"] else "died: 'porter lab up' starts it again"
        click.echo(f"  {cloud['kind']:<14} site {cloud['site']}, {state}")


@lab.command(name="exec", context_settings={"ignore_unknown_options": True})
@click.option("--name", default="lab", show_default=True, help="Which lab.")
@click.argument("host")
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED)
def exec_(name: str, host: str, command: tuple[str, ...]) -> None:
    """Run a command on HOST, or among the clients if HOST is "wan"."""
    argv = Lab(name).command(host, command)
    os.execvp(argv[0], argv)


def _accident(verb: str, done: str, text: str) -> None:
    @click.argument("host")
    @_options
    def command(host: str, name: str, as_json: bool) -> None:
        getattr(Lab(name), verb)(host)
        _say(as_json, {"name": name, "host": host, "state": done}, f"{host} is {done}")

    lab.command(name=verb, help=text)(command)


_accident("kill", "off", "Cut HOST's power: its processes are gone, its disk stays.")
_accident("start", "running", "Boot HOST again; its agent starts too.")
_accident("partition", "cut off", "Drop all traffic to and from HOST, silently.")
_accident("heal", "connected", "Undo partition.")
