"""`wardround client ...`: what a hospital does."""

from client.cli.audit import audit_app
from client.cli.budget import budget_app
from client.cli.check import check
from client.cli.cohort import cohort_app
from client.cli.counts import counts_app
from client.cli.enrol import enrol, follow, renew
from client.cli.jobs import approve, deny, jobs
from client.cli.label import label_app
from client.cli.node import schema, start, status
from client.cli.notify import notify
from client.cli.page import page
from client.cli.prepare import prepare
from shared.cli.app import App

client_app = App(help="Join a federation and run the hospital's side.")
MEMBERSHIP, DECISIONS = (enrol, renew, follow), (jobs, approve, deny)
for command in (*MEMBERSHIP, *DECISIONS, check, prepare, notify, page, start, status, schema):
    client_app.command()(command)
client_app.add_typer(audit_app, name="audit")
client_app.add_typer(budget_app, name="budget")
client_app.add_typer(cohort_app, name="cohort")
client_app.add_typer(counts_app, name="counts")
client_app.add_typer(label_app, name="label")
