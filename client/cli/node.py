"""`wardround client start`, `status`: the site's service; and `schema`: of its settings."""

from typing import Annotated

import typer

from client.cli.folder import HERE, Folder
from shared.cli.answer import Json, answer


def start(
    folder: Folder = HERE,
    health: Annotated[
        str | None,
        typer.Option(
            metavar="HOST:PORT",
            help="Answer gRPC health checks here too, without TLS: on loopback, or inside a pod.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Serve the coordinator's requests until stopped (Ctrl-C or SIGTERM)."""
    import signal
    import threading

    from shared.loading import loading

    with loading():
        from client.service.site_service import serve_folder
        from shared.text.logs import log_to_stderr

    log_to_stderr()
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    serve_folder(folder, stop, health)


def status(folder: Folder = HERE, json: Json = False) -> None:
    """Say what the service does and which jobs wait; exit code 0 if the site takes part, 3 if not."""
    from client.guard.waiting_jobs import how_to_approve, waiting_jobs
    from client.service.status import service_state
    from shared.text.printable import printable

    health, line = service_state(folder)
    waiting = [
        {
            "digest": job.digest,
            "name": job.name,
            "since": job.first_seen,
            "approve": how_to_approve(job.digest, folder),
        }
        for job in waiting_jobs(folder)
    ]
    said = [
        printable(f"job '{job['name']}' waits for approval since {job['since'][:16]}: {job['approve']}")
        for job in waiting
    ]
    answer(json, [printable(line), *said], serving=health == "serving", doing=line, waiting=waiting)
    if health != "serving":
        raise typer.Exit(3)


def schema() -> None:
    """Print the JSON Schema of `site.toml`."""
    from client.settings.site import SiteConfig
    from shared.json_schema import schema_text

    print(schema_text(SiteConfig), end="")
