"""The `porter` command."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path

import click

from porter import __version__
from porter.cli.app import API, BAD_INPUT, FAILED, INTERRUPTED, STATE, App, LazyGroup, report
from porter.domain.errors import PorterError

COMMANDS = {
    "up": ("porter.cli.up:up", "Start the control plane on this machine."),
    "down": ("porter.cli.up:down", "Stop the control plane of this machine."),
    "status": ("porter.cli.up:status", "Say whether the control plane runs, and how it is."),
    "host": ("porter.cli.hosts:host", "Machines that run an agent: ls, token, join, rm."),
    "site": (
        "porter.cli.sites:site",
        "Places that hosts are in: ls, show, add, verify, sweep, rm.",
    ),
    "price": ("porter.cli.prices:price", "What machines and traffic cost: show, compare."),
    "store": (
        "porter.cli.stores:store",
        "Object stores for checkpoints: ls, add, verify, rm.",
    ),
    "workload": (
        "porter.cli.workloads:workload",
        "Containers under Porter's care: ls, show, endpoints.",
    ),
    "migrate": ("porter.cli.migrations:migrate", "Move a workload to another host or site."),
    "migration": (
        "porter.cli.migrations:migration",
        "Moves, past and present: ls, show, watch, cancel, rollback, resolve.",
    ),
    "plan": (
        "porter.cli.plans:plan",
        "Moves planned beforehand: create, ls, show, approve, decline, execute.",
    ),
    "rebalance": (
        "porter.cli.proposals:rebalance",
        "Runs of the optimiser over the fleet: run, ls, show, simulate.",
    ),
    "proposal": (
        "porter.cli.proposals:proposal",
        "Moves that pay together: ls, show, explain, approve, decline, execute, stop.",
    ),
    "schedule": (
        "porter.cli.schedules:schedule",
        "When the optimiser is asked by itself: add, ls, show, rm.",
    ),
    "policy": (
        "porter.cli.policies:policy",
        "What moves must keep to: ls, show, apply, rm, test, schema.",
    ),
    "forecast": ("porter.cli.forecasts:forecast", "How good the forecasts of moves were."),
    "receipt": ("porter.cli.receipts:receipt", "Signed receipts: get, keys, verify."),
    "checkpoint": (
        "porter.cli.checkpoints:checkpoint",
        "States of workloads, kept: create, ls, show, rm, restore.",
    ),
    "user": (
        "porter.cli.people:user",
        "People and their roles: ls, grant, withdraw, disable, enable.",
    ),
    "token": ("porter.cli.people:token", "API tokens for programs: create, ls, revoke."),
    "webhook": (
        "porter.cli.webhooks:webhook",
        "Events sent to a URL of yours: add, ls, test, deliveries, replay, rotate …",
    ),
    "audit": (
        "porter.cli.audit:audit",
        "Who did what: ls, export, and verify that nobody changed it.",
    ),
    "dashboard": ("porter.cli.dashboard:dashboard", "Say where the dashboard is."),
    "doctor": ("porter.cli.doctor:doctor", "Check whether this machine can be a host."),
    "lab": ("porter.cli.lab:lab", "A hybrid cloud on this one machine, to try things out."),
    "agent": ("porter.cli.agent:agent", "Run this machine's agent."),
    "web": ("porter.cli.up:web", "Run one replica of the API (distributed control plane)."),
    "worker": ("porter.cli.up:worker", "Run one Celery worker (distributed control plane)."),
    "beat": ("porter.cli.up:beat", "Run the one Celery beat (distributed control plane)."),
}


@click.group(
    cls=LazyGroup,
    lazy=COMMANDS,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(__version__, prog_name="porter")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document and nothing else.")
@click.option("--api", envvar="PORTER_API", default=API, show_default=True, help="Control plane.")
@click.option(
    "--token-file",
    envvar="PORTER_API_TOKEN_FILE",
    type=click.Path(path_type=Path),
    help="File with the API token.  [default: api-token in the state directory]",
)
@click.pass_context
def cli(ctx: click.Context, as_json: bool, api: str, token_file: Path | None) -> None:
    """Porter moves running containers between hosts: memory, files, address, open connections."""
    state = Path(os.environ.get("PORTER_STATE", STATE))
    ctx.obj = App(as_json, api, state, token_file or state / "api-token")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code. No exception of ours leaves it."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    as_json = "--json" in arguments
    try:
        result = cli.main(arguments, prog_name="porter", standalone_mode=False)
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message())
        return BAD_INPUT
    except click.UsageError as error:
        asked = error.ctx.command_path if error.ctx else "porter"
        click.echo(f"porter: {error.format_message()} Try '{asked} --help'.", err=True)
        return BAD_INPUT
    except click.ClickException as error:
        click.echo(f"porter: {error.format_message()}", err=True)
        return BAD_INPUT
    except PorterError as error:
        return report(error, as_json)
    except (click.Abort, KeyboardInterrupt):
        return INTERRUPTED
    except BrokenPipeError:
        # The reader (head, less) went away: nothing is wrong, but Python would complain at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED
    return result if isinstance(result, int) and not isinstance(result, bool) else 0


if __name__ == "__main__":
    sys.exit(main())
