"""A coordinator's people listener with its pages, in a thread, over a folder with runs in every state."""

import asyncio
import json
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

from server.audit.log import open_audit
from server.audit.trail import AuditTrail
from server.folder.coordinator import ServerTable, found
from server.folder.limits import PeopleLimits, RunLimits
from server.gateway.enrolment_api import EnrolmentApi
from server.gateway.gateway import listen
from server.gateway.listener import Listener
from server.gateway.oidc_api import OidcApi
from server.gateway.people import build_people_app
from server.gateway.run_desk import RunDesk
from server.gateway.runs_api import RunsApi
from server.oidc.log_ins import LogIns
from server.oidc.provider import Provider
from server.oidc.settings import OidcTable
from server.registry.enrolment import Registry
from server.runs.folder import RunFolder
from server.runs.local import Coordinator
from server.runs.places import Places
from server.runs.run_queue import RunQueue
from server.service.coordinator_service import registry_audit
from server.web.coordinator_pages import CoordinatorPages
from shared.audit.verify import entries
from shared.job.schema import parse_job
from shared.pki.authority import Authority
from shared.pki.certificate_requests import certificate_request
from shared.pki.certificates import new_key, server_context
from tests.jobs import make_job
from tests.server.report.runs import write_run

HOSTILE = "<script>document.title='owned'</script>"
GOING = 6
"""Flower's number of the run that goes on."""
SITES = ("charite", "st-mary", "boston", "lyon")


class Clock:
    """Now, or some days from now."""

    def __init__(self) -> None:
        self.days = 0.0

    def __call__(self) -> datetime:
        return datetime.now(UTC) + timedelta(days=self.days)


class Link:
    """Stands for the supervised SuperLink."""

    starts = 1


class Flower:
    """Stands for the SuperLink, which these tests don't need: notes what it is asked, and does nothing."""

    def __init__(self, place: "Place") -> None:
        self._place = place

    def __enter__(self) -> "Flower":
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def start(self, job: str, name: str, *, project: str, resume: bool, **_: object) -> int:
        self._place.asked.append(f"{'resume' if resume else 'start'} {name}")
        self._place.started(job, name, project)
        return 7

    def stop(self, number: int) -> bool:
        self._place.asked.append(f"stop {number}")
        self._place.stopped(number)
        return True

    def failure(self, _: int) -> str:
        return ""


@dataclass
class Place:
    """A coordinator that people look at."""

    folder: Path
    registry: Registry
    trail: AuditTrail
    clock: Clock
    authority: Authority
    port: int = 0
    asked: list[str] = field(default_factory=list)
    tokens: dict[str, str] = field(default_factory=dict)

    held: dict[str, ExitStack] = field(default_factory=dict)
    skipped: float = 0.0

    def time(self) -> float:
        """Return seconds that only grow, of a clock that may be put forward."""
        return time.monotonic() + self.skipped

    def skip(self, seconds: float) -> None:
        """Put that clock forward."""
        self.skipped += seconds

    @property
    def url(self) -> str:
        return f"https://127.0.0.1:{self.port}"

    @property
    def runs(self) -> Path:
        return self.folder / "runs"

    def events(self) -> list[str]:
        return [entry.event for entry in entries(self.folder / "audit")]

    def begin_runs(self) -> None:
        """Look once for runs in the queue, as the service does by itself."""
        runs = Coordinator(self.runs, lambda: Flower(self), self.trail.write)  # type: ignore[arg-type, return-value]
        places = Places(self.runs, RunLimits(at_once=10, each_person=10, each_project=10), lambda _: ())
        RunQueue(Link(), runs, self.runs, places).look()  # type: ignore[arg-type]

    def started(self, job: str, name: str, project: str) -> None:
        """Do what the process of a run does first."""
        made = RunFolder.open(self.runs / name, parse_job(json.loads(job), "job"))
        made.describe(flower_run=7, status="running", queue=None)
        made.event("run_waiting", **{"for": "charite (approval)"})

    def goes_on(self, run: RunFolder) -> RunFolder:
        """Hold a run as its process does, where nothing holds it; returns it."""
        if run.path.name not in self.held:
            self.held[run.path.name] = ExitStack()
            self.held[run.path.name].enter_context(run.lock())
        return run

    def stopped(self, number: int) -> None:
        """Do what the process of a run does last."""
        for name in list(self.held):
            run = RunFolder.read(self.runs / name)
            if run.read_description().get("flower_run") == number:
                run.describe(status="stopped")
                self.held.pop(name).close()


@contextmanager
def open_place(folder: Path, oidc: OidcTable | None = None) -> Iterator[Place]:
    """Found a federation and open its pages."""
    authority = found(folder, ServerTable(name="heart-trial", host="127.0.0.1"), None)
    trail, clock = AuditTrail(open_audit(folder).append), Clock()
    registry = Registry(folder / "registry.sqlite", registry_audit(trail), clock)
    place = Place(folder, registry, trail, clock, authority)
    for site in SITES:
        days = 20 if site == "boston" else 340  # one certificate nears its end
        token = registry.invite(site)
        certificate = registry.redeem(token, certificate_request(new_key(), site), authority, days)
        if site != "lyon":
            clock.days = -2 if site == "st-mary" else 0
            registry.seen(certificate.serial_number)
    clock.days = 0
    registry.invite("toronto")
    for name, role in (("ada", "researcher"), ("vera", "viewer"), ("olga", "operator")):
        place.tokens[name] = registry.add_person(name, role, projects=["default"])
    with closing(trail), closing(registry), _served(place, oidc):
        yield place
        for lock in place.held.values():
            lock.close()


@contextmanager
def _served(place: Place, oidc: OidcTable | None) -> Iterator[None]:
    sock = listen("127.0.0.1", 0)
    place.port = sock.getsockname()[1]
    desk = RunDesk(place.runs, lambda: Flower(place), place.trail, place.registry.project_names)
    log_ins = None
    if oidc is not None:
        back = f"{place.url}/log-in/oidc/back"
        log_ins = LogIns(Provider(oidc, place.time), place.registry, back, place.time)
    versions = {"charite": "0.1.0"}
    pages = CoordinatorPages("heart-trial", desk, place.registry, versions=versions, log_ins=log_ins)
    enrolment = EnrolmentApi(None, place.authority)  # type: ignore[arg-type]  (nobody enrols here)
    api = OidcApi(log_ins).routes() if log_ins else []
    limits, ready, held = PeopleLimits(), threading.Event(), []
    app = build_people_app(
        place.registry,
        place.trail,
        limits,
        lambda: True,
        routes=RunsApi(desk).routes(),
        public=[*enrolment.people_routes(), *pages.routes(), *api],
        sessions=pages.sessions,
    )

    async def serve() -> None:
        held.append(Listener(app, sock, server_context(place.folder, sites=False), limits, place.trail))
        ready.set()
        await held[0].serve()
        await pages.close()

    thread = threading.Thread(target=lambda: asyncio.run(serve()))
    thread.start()
    ready.wait()
    try:
        yield
    finally:
        held[0].should_exit = held[0].force_exit = True
        thread.join()


def write_runs(place: Place) -> RunFolder:
    """Write runs in every state; returns the one that goes on."""
    job = make_job(job_name="heart-mri", job_rounds=12)
    of = {"project": "default", "researcher": "ada", "flower_run": 1}
    sites = list(SITES)
    shown = {"figures": dict.fromkeys(sites, "project")}
    for seed, name in ((1, "heart-mri-20261120-091500"), (2, "heart-mri-20261121-091500")):
        again = make_job(job_name="heart-mri", job_rounds=12, job_seed=seed)
        write_run(
            place.runs, again, sites, 12, name, **of, **shown, started=f"2026-11-2{seed}T09:15:00+00:00"
        )
    failed = RunFolder.create(place.runs, job, "heart-mri-20261122-101010", "default")
    failed.describe(**of, **shown, status="failed", reason=f"round 3: 1 site answered {HOSTILE}")
    waiting = RunFolder.create(place.runs, make_job(job_name="lung-ct"), "lung-ct-20261126-080000", "default")
    standing = {"charite": {"state": "approval", "since": "2026-11-26T08:00:10+00:00"}}
    waiting.describe(
        **(of | {"flower_run": 4}),
        status="waiting",
        waiting={"sites": standing, "until": "2026-12-03T08:00:00+00:00"},
    )
    waiting.event("run_waiting", **{"for": "charite (approval)", "until": "2026-12-03T08:00:00+00:00"})
    place.goes_on(waiting)
    goes_on = of | shown | {"status": "running", "test": {}, "flower_run": GOING}
    path = write_run(place.runs, job, sites, 5, "heart-mri-20261126-090000", **goes_on)
    going = RunFolder.read(path)
    going.event("run_started", rounds=12, sites=4, round=5)
    going.event("round_started", round=6)
    going.event("site_done", round=6, site="charite", phase="train", loss=0.31, seconds=11.5)
    going.event("site_failed", round=6, site="boston", phase="train", reason=f"disk is full {HOSTILE}")
    return place.goes_on(going)
