"""Wardround's apps as Flower itself would run them: its Grid as it is, and a ClientApp for its SuperNodes."""

import json
import os
from functools import cache
from pathlib import Path

import torch
from flwr.app import Context, Message
from flwr.clientapp import ClientApp
from flwr.serverapp import Grid, ServerApp

from client.app import Site, Workshop, make_app
from client.site import load_site
from server.app import execute
from server.coordinator import COORDINATOR
from shared.job import parse_job

server = ServerApp()


@server.main()
def main(grid: Grid, context: Context) -> None:
    """Run the round loop on the Grid that Flower gives."""
    config = context.run_config
    job = parse_job(json.loads(str(config["job"])), "the benchmark's job")
    execute(
        grid,
        job,
        Path(os.environ[COORDINATOR]) / "runs",
        str(config["run"]),
        context.run_id,
        researcher="",
        resume=False,
        listen=lambda _: None,
    )


class LazyApp(ClientApp):
    """The ClientApp of the site that this process' environment names."""

    def __call__(self, message: Message, context: Context) -> Message:
        """Serve a message."""
        return _app()(message, context)


@cache
def _app() -> ClientApp:
    config = load_site(Path(os.environ["WARDROUND_SITE"]))
    return make_app(Site(config, Workshop(torch.device("cpu")), gate=None))


client = LazyApp()
