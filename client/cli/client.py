"""`wardround client ...`: what a hospital does."""

import typer

from client.cli.audit import audit_app
from client.cli.budget import budget_app
from client.cli.check import check
from client.cli.cohort import cohort_app
from client.cli.enrol import add_enrolment_commands
from client.cli.jobs import add_job_commands
from client.cli.node import add_node_commands
from client.cli.prepare import prepare

client_app = typer.Typer(
    help="Join a federation and run the hospital's side.", no_args_is_help=True, rich_markup_mode="markdown"
)
add_enrolment_commands(client_app)
add_job_commands(client_app)
client_app.command()(check)
client_app.command()(prepare)
client_app.add_typer(audit_app, name="audit")
client_app.add_typer(budget_app, name="budget")
client_app.add_typer(cohort_app, name="cohort")
add_node_commands(client_app)
