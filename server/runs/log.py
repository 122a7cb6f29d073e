"""The log of a run: what the round loop tells is written into the run's folder."""

from server.runs.events import Event, Listener
from server.runs.folder import RunFolder


def record_and_tell(run: RunFolder, listen: Listener) -> Listener:
    """Return a listener that writes what happens into the run's log and passes everything on."""

    def tell(event: Event) -> None:
        where = {"round": event.round, "site": event.site, "phase": event.phase}
        run.event(event.kind, **{**event.data, **{key: value for key, value in where.items() if value}})
        listen(event)

    return tell
