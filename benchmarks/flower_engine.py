"""The same training under Flower's own simulation engine (Ray), written as its tutorials write it."""

import os
from collections.abc import Iterable
from functools import cache
from multiprocessing.synchronize import Event
from pathlib import Path

os.environ["FLWR_TELEMETRY_ENABLED"] = os.environ["RAY_USAGE_STATS_ENABLED"] = "0"  # read on import

import torch
from common import Measured, RoundClock, Work
from flwr.app import ArrayRecord, ConfigRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp import Grid, ServerApp
from flwr.serverapp.strategy import FedAvg
from flwr.simulation import run_simulation
from plain_training import make_network, read_site, train

_NUMBERS = ("sites", "rounds", "workers", "batch", "steps")

client = ClientApp()
_read_site = cache(read_site)  # kept by each of Ray's actors


@client.train()
def train_site(message: Message, context: Context) -> Message:
    """Load the global model, train it, return it."""
    torch.set_num_threads(1)
    config = message.content["config"]
    work = Work(Path(config["manifest"]), *(config[key] for key in _NUMBERS))
    network = make_network()
    network.load_state_dict(message.content["arrays"].to_torch_state_dict())
    data = _read_site(work.manifest, context.node_config["partition-id"])
    metrics = MetricRecord({"loss": train(network, data, work), "num-examples": len(data[0])})
    content = RecordDict({"arrays": ArrayRecord(network.state_dict()), "metrics": metrics})
    return Message(content, reply_to=message)


class Timed(FedAvg):
    """FedAvg that tells a clock when each round begins."""

    def __init__(self, clock: RoundClock) -> None:
        super().__init__(fraction_evaluate=0.0)
        self._clock = clock

    def configure_train(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        """Note the time."""
        self._clock.begin(server_round)
        return super().configure_train(server_round, arrays, config, grid)


def run(work: Work, started: float, go: Event) -> Measured:
    """Run the engine; see `common.RoundClock`."""
    rounds = work.rounds + 2
    clock = RoundClock(started, rounds, go)
    server = ServerApp()

    @server.main()
    def main(grid: Grid, context: Context) -> None:
        config = {"manifest": str(work.manifest), **{key: getattr(work, key) for key in _NUMBERS}}
        arrays = ArrayRecord(make_network().state_dict())
        Timed(clock).start(grid, arrays, num_rounds=rounds, train_config=ConfigRecord(config))

    resources = {"client_resources": {"num_cpus": 1}, "init_args": {"num_cpus": work.workers}}
    run_simulation(server, client, num_supernodes=work.sites, backend_config=resources)
    return clock.measured()
