"""`wardround server ...`: what the coordinator's operator does."""

from server.cli.audit import audit_app
from server.cli.authority import add_authority_commands
from server.cli.check import add_check_command
from server.cli.enrol import add_enrolment_commands
from server.cli.notify import notify
from server.cli.projects import add_projects_commands
from server.cli.start import add_start_command
from shared.cli.app import App

server_app = App(help="Found a federation and run its coordinator.")
add_enrolment_commands(server_app)
add_authority_commands(server_app)
add_start_command(server_app)
add_check_command(server_app)
server_app.command()(notify)
add_projects_commands(server_app)
server_app.add_typer(audit_app, name="audit")
