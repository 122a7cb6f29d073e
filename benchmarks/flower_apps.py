"""Wardround's apps as Flower itself would run them: its Grid as it is, and a ClientApp for its SuperNodes."""

import json
import os
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from pathlib import Path

import torch
from flwr.app import Context, Message
from flwr.clientapp import ClientApp
from flwr.serverapp import Grid, ServerApp

from client.settings.site import load_site
from client.work.client_app import make_app
from client.work.hospital import Site
from client.work.warm_networks import Workshop
from server.folder.coordinator import COORDINATOR
from server.rounds.deadline import Deadline
from server.rounds.forwarding_grid import ForwardingGrid
from server.rounds.loop import RoundLoop
from server.rounds.site_grid import SiteGrid
from server.rounds.site_heads import SiteHeads
from server.runs.folder import RunFolder
from server.runs.life import at_work
from server.superlink.site_names import project_sites
from shared.job.schema import parse_job

server = ServerApp()


class PlainGrid(ForwardingGrid, SiteGrid):
    """Flower's Grid as it is: it looks for answers by the clock; its deadline can't be brought forward."""

    def __init__(self, grid: Grid, names: Mapping[int, str]) -> None:
        super().__init__(grid)
        self._names = names

    def site_names(self) -> Mapping[int, str]:
        """Return the name of each node's site."""
        return self._names

    def answers(self, messages: Iterable[Message], deadline: Deadline, largest: int) -> Iterator[Message]:
        """Send messages and yield their answers, when Flower has all of them."""
        yield from self.send_and_receive(messages, timeout=deadline.left)


@server.main()
def main(grid: Grid, context: Context) -> None:
    """Run the round loop on the Grid that Flower gives."""
    config = context.run_config
    job = parse_job(json.loads(str(config["job"])), "the benchmark's job")
    folder = Path(os.environ[COORDINATOR])
    name = str(config["run"])
    run = RunFolder.create(folder / "runs", job, name, str(config["project"]))
    sites = PlainGrid(grid, project_sites(folder, str(config["project"])))
    heads = SiteHeads(lambda *_, **__: "", {}, name, lambda _: ())  # its sites keep no log
    with at_work(run, resume=False, flower_run=context.run_id):
        RoundLoop(sites, job, run, heads, heads=heads).execute()


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
