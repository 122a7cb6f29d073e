"""`wardround server ...`: what the coordinator's operator does."""

from server.cli.audit import audit_app
from server.cli.authority import authority_app, rehost
from server.cli.check import check, schema
from server.cli.enrol import backup, init, invite, people_app, restore, revoke, sign, sites
from server.cli.notify import notify
from server.cli.projects import projects_app
from server.cli.start import start
from shared.cli.app import App

server_app = App(help="Found a federation and run its coordinator.")
for command in (init, invite, sites, revoke, sign, backup, restore, rehost, start, check, schema, notify):
    server_app.command()(command)
server_app.add_typer(people_app, name="people")
server_app.add_typer(authority_app, name="authority")
server_app.add_typer(projects_app, name="projects")
server_app.add_typer(audit_app, name="audit")
