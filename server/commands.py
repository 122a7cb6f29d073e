"""`wardround server ...`: what the coordinator's operator does."""

import typer

from server.commands_audit import audit_app
from server.commands_check import add_check_command
from server.commands_enrol import add_enrolment_commands
from server.commands_projects import add_projects_commands
from server.commands_start import add_start_command

server_app = typer.Typer(
    help="Found a federation and run its coordinator.", no_args_is_help=True, rich_markup_mode="markdown"
)
add_enrolment_commands(server_app)
add_start_command(server_app)
add_check_command(server_app)
add_projects_commands(server_app)
server_app.add_typer(audit_app, name="audit")
