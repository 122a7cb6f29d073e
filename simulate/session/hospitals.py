"""Which hospitals a simulation has, and the host that plays them inside a worker."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flwr.clientapp import ClientApp
from numpy.typing import NDArray
from pydantic import Field

from client.data.manifest.splits import CohortKey
from client.data.samples.job_rows import ManifestsAtHand
from client.guard.cohort import Cohort
from client.settings.site import SiteConfig
from client.training.device import open_device
from client.work.client_app import make_app
from client.work.hospital import Site
from client.work.run_store import RunStore
from client.work.site_worker import serve_message
from client.work.warm_networks import Workshop
from client.workers.records import pack, unpack
from shared.errors import RunError
from shared.table import Table
from shared.wire.messages import Request
from simulate.data.scanner import Scanner
from simulate.session.attackers import Attack, Attacker
from simulate.session.baselines import train_baseline
from simulate.session.credentials import simulated_credentials
from simulate.session.grid import node_id
from simulate.session.judging import judge
from simulate.workers import Call

BASELINE = "baseline"
JUDGE = "judge"


class Setup(Table):
    """The hospitals of a simulation; kept in the run's folder so that the run can be resumed."""

    sites: list[SiteConfig]
    folders: dict[str, Path] = Field({})  # by site, of hospitals with files of their own
    scanner_seed: int | None = None  # with a seed, each site sees its images through a scanner of its own
    split_seed: int | None = None  # draws who tests; None: the job's
    held_out: list[str] = Field([])  # sites that only test
    used: float = 1.0  # share of the others' patients who train and validate
    attack: Attack | None = None  # what some of them do to the model
    device: str = "auto"
    baselines: bool = False

    @classmethod
    def read(cls, path: Path) -> "Setup":
        """Read the setup of a run.

        Raises:
            RunError: The run is not a simulation, or its setup can't be read.
        """
        try:
            return cls.model_validate_json(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise RunError(f"is not the setup of a simulation ({error})", where=path) from None

    def cohorts(self) -> dict[str, Cohort | None]:
        """Return how hospitals divide their patients, where the job's seed alone does not say it.

        Nothing is written into their folders.
        """
        return {site.name: self._cohort(site.name) for site in self.sites}

    def _cohort(self, name: str) -> Cohort | None:
        own = Cohort.rehearsed(self.folders[name]) if name in self.folders else None
        if own is None and self.split_seed is not None:
            own = Cohort(CohortKey.drawn(self.split_seed))
        used = 0.0 if name in self.held_out else self.used
        return own if own is None or used == 1 else own.using(used)


@dataclass(frozen=True)
class HostFactory:
    """Builds the host inside a worker process."""

    setup: str  # as JSON
    kept: Path | None = None  # folder that all workers reach; None: the sites keep nothing between rounds

    def __call__(self) -> "SimulationHost":
        """Build the host."""
        return SimulationHost(Setup.model_validate_json(self.setup), self.kept)


class SimulationHost:
    """Plays all hospitals in one worker: each has its own ClientApp and data, the networks are shared."""

    def __init__(self, setup: Setup, kept: Path | None = None) -> None:
        self._workshop = Workshop(open_device(setup.device))
        self._configs = {config.name: config for config in setup.sites}
        self._cohorts = setup.cohorts()
        self._manifests = ManifestsAtHand()
        self._kept = kept
        self._scanner_seed = setup.scanner_seed
        self._attack = setup.attack
        self._sites: dict[str, Site] = {}
        self._apps: dict[str, ClientApp] = {}

    def handle(self, call: Call) -> tuple[Mapping[str, Any], Mapping[str, NDArray[Any]]]:
        """Serve a message to one hospital, train a baseline, or look at the test behind its figures."""
        if call.kind == BASELINE:
            members = {name: self._site(name) for name in call.payload["members"]}
            everyone = {name: self._site(name) for name in call.payload["everyone"]}
            bench = self._workshop.bench(call.payload["job"])
            first = call.arrays["first"]
            return train_baseline(
                bench, call.site, members, everyone, rounds=call.payload["rounds"], first=first
            )
        if call.kind == JUDGE:
            vector = call.arrays["vector"]
            request = Request(**call.payload, vector=vector, split="test", edges=None)
            _, tables = judge(self._site(call.site), request)
            return {}, {name: table.numpy() for name, table in tables.items()}
        state = unpack(call.payload["state"], {})
        payload, arrays = serve_message(self._app(call.site), call, node_id(call.site), state=state)
        return {**payload, "state": pack(state)[0]}, arrays

    def _site(self, name: str) -> Site:
        if name not in self._sites:
            scanner = None if self._scanner_seed is None else Scanner.draw(name, self._scanner_seed)
            attack = self._attack
            attacks = attack is not None and name in attack.sites
            site = (Attacker if attacks else Site)(
                self._configs[name],
                self._workshop,
                scanner,
                gate=None,
                credentials=simulated_credentials(name),
                store=None if self._kept is None else RunStore(self._kept / name),
                cohort=self._cohorts.get(name),
                manifests=self._manifests,
            )
            if isinstance(site, Attacker) and attack is not None:
                site.attack = attack
            self._sites[name] = site
        return self._sites[name]

    def _app(self, name: str) -> ClientApp:
        if name not in self._apps:
            self._apps[name] = make_app(self._site(name))
        return self._apps[name]
