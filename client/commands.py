"""`wardround client ...`: what a hospital does."""

import typer

from client.commands_audit import audit_app
from client.commands_budget import budget_app
from client.commands_check import check
from client.commands_cohort import cohort_app
from client.commands_enrol import add_enrolment_commands
from client.commands_jobs import add_job_commands
from client.commands_node import add_node_commands
from client.commands_prepare import prepare

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
