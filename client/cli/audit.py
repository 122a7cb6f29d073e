"""`wardround client audit show, verify`: what happened here, and proof that nobody changed the record."""

from client.cli.folder import HERE, Folder
from shared.cli.answer import Json
from shared.cli.app import App
from shared.cli.audit import Event, Head, Last, check_log, print_entries

audit_app = App(help="The site's audit log.")


@audit_app.command()
def show(folder: Folder = HERE, last: Last = 50, event: Event = None, json: Json = False) -> None:
    """Print the newest entries, newest last; nothing is checked (see `verify`)."""
    print_entries(folder / "audit", last, event, as_json=json)


@audit_app.command()
def verify(folder: Folder = HERE, head: Head = None, json: Json = False) -> None:
    """Check every entry; exit code 0 if the log is whole, 2 with each problem and its place if not."""
    check_log(folder / "audit", folder / "keys" / "site.key", head, as_json=json)
