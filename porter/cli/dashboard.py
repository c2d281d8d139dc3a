"""`porter dashboard`: where the dashboard is, and how to log in."""

from __future__ import annotations

import click

from porter.cli.app import App, PorterCommand


@click.command(cls=PorterCommand)
@click.option("--open", "opens", is_flag=True, help="Open it in this machine's browser, too.")
@click.pass_obj
def dashboard(app: App, opens: bool) -> None:
    """Say where the dashboard is, and where the token lies that logs in.

    The token itself is not printed, and never put into an address: both would be kept in histories.
    """
    login = f"{app.url.rstrip('/')}/login"
    app.show({"url": login, "token_file": str(app.token_file)}, None)
    if not app.json:
        click.echo(f"Dashboard  {login}")
        click.echo(f"Log in     with the token in {app.token_file}")
    if opens:
        click.launch(login)
