"""What a simulation that repeats a run can repeat, and what it can't."""

from collections.abc import Set

from server.runs.participation import Participation
from shared.errors import RunError
from shared.job.schema import JobSpec
from shared.networks.build import build_model
from shared.strategies.wire import Wire


def check_record(job: JobSpec, record: Participation, sites: Set[str]) -> list[str]:
    """Return what keeps a simulation from repeating a run to the bit.

    Args:
        job: Of both.
        record: Who took part in the run.
        sites: Names of the hospitals of the simulation.

    Raises:
        RunError: A hospital of the run is missing.
    """
    if missing := sorted(record.sites - sites):
        raise RunError(
            f"{', '.join(missing)} took part in the run, and is not here",
            where="--as-in",
            remedy="Name the site.toml of every hospital of the run, or data with all of them.",
        )
    found = []
    if job.privacy.mechanism != "none":
        found.append("the noise of a real run is secret: who took part is repeated, and the model is another")
    if (lost := record.lost) and _keeps_between_rounds(job):
        names = ", ".join(f"{name} (round {round_})" for name, round_ in lost.items())
        found.append(
            "whether a site had trained before it was lost in a round is not known, and sites keep something "
            f"between the rounds of this job, so that the model may be another: {names}"
        )
    return found


def _keeps_between_rounds(job: JobSpec) -> bool:
    if job.training.keep_optimizer or job.update.compression == "top-k":
        return True
    wire = Wire.of(build_model(job, started=False), job.strategy)
    return bool(job.strategy.site(wire.model, wire.personal).keeps)
