"""`wardround client`: everything that a hospital's IT does."""

import typer

from client.commands_node import start, status

client_app = typer.Typer(
    help="A hospital's side: run the site's service, see what it does.",
    no_args_is_help=True,
    rich_markup_mode="markdown",
)
client_app.command()(start)
client_app.command()(status)
