"""The command line: mounts the commands of all sides and imports nothing heavy until one needs it."""

import sys
from collections.abc import Sequence
from functools import cache
from typing import TYPE_CHECKING, Annotated

import typer

from client.cli.client import client_app
from client.cli.data import data_app
from client.cli.export import export
from client.cli.new_job import new
from client.cli.predict import predict
from client.cli.retrieve import retrieve
from client.cli.store import store
from client.cli.verify import verify
from server.cli.counts import counts
from server.cli.drift import drift
from server.cli.login import login
from server.cli.report import compare, report, show
from server.cli.runs import COMMANDS, runs_app
from server.cli.server import server_app
from server.cli.track import track
from shared.cli.app import App
from shared.cli.job import job_app
from shared.errors import WardroundError
from shared.text.printable import printable_lines
from simulate.cli.audit_privacy import audit_privacy
from simulate.cli.contribution import contribution
from simulate.cli.describe import describe
from simulate.cli.example import example
from simulate.cli.forget import forget
from simulate.cli.simulate import simulate
from simulate.cli.tune import tune

if TYPE_CHECKING:
    import click

INTERRUPTED = 130  # what Typer, like a shell, makes of Ctrl-C

# In Typer's "markdown" mode, "[training]" in a help text is not taken for Rich's markup.
app = App(
    name="wardround",
    help="Hospitals train one medical-imaging model together; no image leaves its hospital.",
    context_settings={"help_option_names": ["-h", "--help"]},  # of every command below, too
    pretty_exceptions_enable=False,
)
app.command()(simulate)
app.command()(describe)
app.command()(tune)
app.command()(contribution)
app.command()(forget)
app.command()(audit_privacy)
for command in (
    report,
    show,
    compare,
    drift,
    predict,
    store,
    retrieve,
    export,
    verify,
    track,
    login,
    counts,
    *COMMANDS,
):
    app.command()(command)
app.add_typer(runs_app, name="runs")
job_app.command()(new)  # which reads data
app.add_typer(job_app, name="job")
data_app.command()(example)  # what it makes is simulated, and a hospital's side knows of no simulation
app.add_typer(data_app, name="data")
app.add_typer(client_app, name="client")
app.add_typer(server_app, name="server")


def _print_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        print(f"wardround {version('wardround')}")
        raise typer.Exit


@app.callback()
def _options(
    _version: Annotated[
        bool,
        typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit."),
    ] = False,
) -> None:
    """Take the options that stand before the command."""


@cache
def _commands() -> "click.Command":
    """Return all commands: to build them takes longer than many a command does."""
    return typer.main.get_command(app)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line; docs/cli.md lists with which codes it ends."""
    try:
        _commands()(arguments, prog_name="wardround")
    except WardroundError as error:
        print(f"error: {printable_lines(error)}", file=sys.stderr)
        sys.exit(2)
    except SystemExit as end:
        if end.code == INTERRUPTED:
            print("interrupted", file=sys.stderr)
        raise


if __name__ == "__main__":
    main()
