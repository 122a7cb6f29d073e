"""`wardround client ...`: what a hospital does."""

from client.cli.audit import audit_app
from client.cli.budget import budget_app
from client.cli.check import check
from client.cli.cohort import cohort_app
from client.cli.enrol import add_enrolment_commands
from client.cli.jobs import add_job_commands
from client.cli.label import label_app
from client.cli.node import add_node_commands
from client.cli.notify import notify
from client.cli.page import page
from client.cli.prepare import prepare
from shared.cli.app import App

client_app = App(help="Join a federation and run the hospital's side.")
add_enrolment_commands(client_app)
add_job_commands(client_app)
client_app.command()(check)
client_app.command()(prepare)
client_app.command()(notify)
client_app.command()(page)
client_app.add_typer(audit_app, name="audit")
client_app.add_typer(budget_app, name="budget")
client_app.add_typer(cohort_app, name="cohort")
client_app.add_typer(label_app, name="label")
add_node_commands(client_app)
