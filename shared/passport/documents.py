"""What is signed: a site's statement about its part in a run, and the passport that holds all of them."""

from datetime import datetime
from typing import Annotated, Literal, TypeVar

from pydantic import AwareDatetime, Field, TypeAdapter, ValidationError

from shared.job.schema import JobSpec
from shared.passport.envelope import Envelope, PassportError
from shared.table import Name, Table

STATEMENT, PASSPORT = (
    "application/vnd.wardround.statement.v1+json",
    "application/vnd.wardround.passport.v1+json",
)
FILE = "passport.json"
"""Name of the passport in a run's folder, and in exports of its models."""

_MOST = 100_000
_RUN_NAME = r"^[a-z0-9][a-z0-9._-]{0,150}$"
D = TypeVar("D", bound=Table)

Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
RunName = Annotated[str, Field(pattern=_RUN_NAME)]
Moment = Annotated[str, Field(max_length=40)]
Without = Literal[
    "was not there when the run ended",
    "gave no answer",
    "refused",
    "gave a statement that does not hold",
    "signs something else than the coordinator has received",
]
"""Why a site has no statement; what else is known of it is for the coordinator's people alone."""


class Received(Table):
    """A model that a site was sent: its number of rounds, and the SHA-256 of its packed vector."""

    after: int = Field(ge=0)
    model: Digest


class Trained(Table):
    """An update that left a site.

    Attributes:
        update: SHA-256 of the arrays as they were sent: masked under secure aggregation, encoded where the
            job filters updates.
    """

    round: int = Field(ge=1)
    update: Digest


class Judged(Table):
    """That metric states left a site; not their digest, as few numbers could be guessed by it."""

    round: int = Field(ge=0)
    split: Literal["val", "test"]


class Promise(Table):
    """What a site promises to its patients for a run.

    Attributes:
        mechanism: The job's `[privacy] mechanism`. Of `site-level` the noise is the coordinator's.
        secure_aggregation: Whether nothing but masked numbers left the site.
        unit: Whom it protects; None where the site adds no noise.
        epsilon: What a unit loses at most over the job's rounds, by the job; None where the job says how much
            noise there is instead: the site's ledger knows what that comes to.
        delta: Beside it.
        honest_sites: How many sites have to be honest for it.
        charged: Rounds that the site's ledger was charged for.
    """

    mechanism: Literal["none", "dp-sgd", "site-level"]
    secure_aggregation: bool
    unit: Literal["patient", "image"] | None = None
    epsilon: float | None = None
    delta: float | None = None
    honest_sites: int | None = None
    charged: int = 0


class Statement(Table):
    """What a site signs, written from its own audit log.

    It goes wherever the model goes, further than any policy lets figures of single sites go: so it has no
    number of patients or images.

    Attributes:
        run: The name that the coordinator gave it, as it stood in each request.
        layout: Digest of the layout of a packed model, as the site builds it from the job.
        log_head: Number and hash of the newest entry of the log from which it was written.
    """

    site: Name
    run: RunName
    job: Digest
    layout: Digest
    time: Moment
    received: Annotated[list[Received], Field(max_length=_MOST)]
    trained: Annotated[list[Trained], Field(max_length=_MOST)]
    judged: Annotated[list[Judged], Field(max_length=_MOST)]
    promise: Promise
    log_head: str = Field(pattern=r"^\d{1,15}:[0-9a-f]{64}$")


class Round(Table):
    """What came of a round, by the coordinator.

    Attributes:
        model: SHA-256 of the packed vector after it.
        updates: Of each site whose update is in it, the SHA-256 of what arrived.
        judged: Sites that judged it on validation patients.
    """

    round: int = Field(ge=1)
    model: Digest
    updates: dict[Name, Digest]
    judged: list[Name]


class Released(Table):
    """A model's file: SHA-256, and the round after which it was saved."""

    sha256: Digest
    round: int = Field(ge=0)


class PackedTensor(Table):
    """What stands in the packed vector: a tensor's name and shape; `beside` belongs to a strategy."""

    name: str = Field(max_length=400)
    shape: list[int]
    beside: bool = False


class PassportContent(Table):
    """What the coordinator signs.

    Attributes:
        job: Canonical JSON: whose SHA-256 is in every statement.
        first: SHA-256 of the packed vector before the first round.
        tested: Sites that tested the model of `tested_round`.
        tensors: Of the packed vector, in its order; `parameters` numbers of it are trained.
        files: By name.
        statements: Of the sites.
        without: Why a site that took part has none.
    """

    federation: Name
    run: RunName
    job: str = Field(max_length=2**22)
    begun: Moment
    time: Moment
    first: Digest
    rounds: Annotated[list[Round], Field(max_length=_MOST)]
    tested_round: int = Field(ge=0)
    tested: list[Name]
    parameters: int = Field(ge=0)
    tensors: Annotated[list[PackedTensor], Field(max_length=_MOST)]
    files: dict[Annotated[str, Field(pattern=r"^[a-z]{1,20}\.safetensors$")], Released]
    statements: dict[Name, Envelope]
    without: dict[Name, Without]


def moment(text: str) -> datetime:
    """Return the time that a document says.

    Raises:
        PassportError: It is none.
    """
    try:
        return TypeAdapter(AwareDatetime).validate_python(text)
    except ValidationError:
        raise PassportError("has no time at which it was signed") from None


def read(kind: type[D], payload: bytes) -> D:
    """Read a signed document's content.

    Raises:
        PassportError: It is none of this kind.
    """
    try:
        return kind.model_validate_json(payload, strict=True)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))
        raise PassportError(f"does not say what it should ({place}: {first['msg']})") from None


def promise_of(job: JobSpec, charged: int) -> Promise:
    """Return what a site that trained for a job promises.

    Args:
        job: What was approved.
        charged: Rounds that the site's ledger was charged for.
    """
    privacy = job.privacy
    common = {"mechanism": privacy.mechanism, "secure_aggregation": privacy.secure_aggregation}
    if privacy.mechanism != "dp-sgd":
        return Promise(**common)
    return Promise(
        **common,
        unit=privacy.unit,
        epsilon=privacy.epsilon,
        delta=privacy.delta,
        honest_sites=privacy.honest_sites,
        charged=charged,
    )
