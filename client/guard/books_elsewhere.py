"""A site's books for a worker on another machine: it asks the site's service, which alone has them.

SQLite's files are no files for two machines, and the audit log is signed with the site's key, which a node
has no need of. So the node sends what it would have called; all else is as on one machine. What may be
called is listed here: a node can charge the ledger and lengthen the log, but never shorten either.
"""

import json
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from functools import cache, lru_cache
from inspect import Parameter, signature
from pathlib import Path
from typing import Annotated, Any, cast, get_type_hints

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, PlainSerializer, PlainValidator, create_model

from client.guard.cohort import Cohort
from client.guard.cohort_book import BOOK as COHORT_BOOK
from client.guard.cohort_book import CohortBook
from client.guard.evaluated_sets import EvaluatedSets
from client.guard.gate import Gate, Visit
from client.guard.log_proof import CutLogError
from client.guard.model_sketch import sketch_of
from client.guard.site_books import SiteBooks
from client.guard.sum_book import SumBook
from client.settings import states
from client.settings.cohort_key import NAME as COHORT_KEY
from client.settings.cohort_key import read_key
from client.settings.policy import BudgetError, PolicyError
from client.settings.site import SiteConfig
from shared.audit.fields import AuditError
from shared.errors import DataError, JobError, RunError, SiteError, WardroundError
from shared.job.schema import JobSpec, parse_job
from shared.pki.certificates import CredentialError
from shared.privacy.secagg.errors import SecureAggregationError

_log = logging.getLogger(__name__)

Ask = Callable[[bytes], bytes]
"""Sends a question to the service; returns its answer."""

_OFFERED: dict[str, tuple[type, set[str]]] = {
    "gate": (
        Gate,
        {
            *("admit", "take", "take_statistics", "take_reading", "count", "reserve", "sent", "signed"),
            *("unmasked", "refused", "refused_look", "failed"),
        },
    ),
    "cohort": (CohortBook, {"fixed", "fix", "told", "tell"}),
    "sums": (SumBook, {"take", "sketch_key"}),
    "sets": (EvaluatedSets, {"take"}),
}
_ERRORS: dict[str, type[WardroundError]] = {
    kind.__name__: kind
    for kind in (
        *(states.AwaitsApprovalError, states.DeniedError, states.NoDatasetError, states.OutsideHoursError),
        *(states.UsedUpError, BudgetError, PolicyError, CutLogError, SiteError, AuditError, CredentialError),
        *(SecureAggregationError, DataError, JobError, RunError),
    )
}
_FAULT = "fault"  # what is said of an error that nobody is to put right


class Elsewhere:
    """One of the books: what is called here is done by the service.

    Args:
        book: Its name in the list of what is offered.
        ask: Reaches the service.
    """

    def __init__(self, book: str, ask: Ask) -> None:
        self._book = book
        self._ask = ask

    def __getattr__(self, name: str) -> Callable[..., Any]:
        """Return what the service does by this name."""
        if name not in _OFFERED[self._book][1]:
            raise AttributeError(f"{self._book}.{name} is not offered to another machine")

        def call(*positional: object, **named: object) -> Any:
            form = _form(self._book, name)
            arguments = dict(zip(form.takes, positional, strict=False)) | named
            text = form.arguments(**arguments).model_dump_json()
            said = json.loads(self._ask(json.dumps([self._book, name, text]).encode()))
            if "error" in said:
                raise _error(said["error"])
            return form.returned.model_validate_json(said["returned"]).value  # type: ignore[attr-defined]

        return call


class SumsElsewhere(Elsewhere):
    """The book of sums; a model is summed up here, as it is large.

    Args:
        ask: Reaches the service.
    """

    def __init__(self, ask: Ask) -> None:
        super().__init__("sums", ask)
        self.sets = Elsewhere("sets", ask)
        self._key: bytes = self.sketch_key()

    def sketch(self, vector: NDArray[np.float32]) -> bytes:
        """Return what is remembered of a model, shape (n,)."""
        return sketch_of(vector, self._key).tobytes()


def books_elsewhere(folder: Path, ask: Ask) -> SiteBooks:
    """Return the books of a site for a worker whose machine has none of them.

    Args:
        folder: The site's, where this machine finds `keys/cohort.key`, by which patients are divided.
        ask: Reaches the site's service.

    Raises:
        WardroundError: The key or the books can't be used.
    """
    if (key := read_key(folder / "keys")) is None:
        raise SiteError("is not there", where=f"keys/{COHORT_KEY}")
    cohort = Cohort(key, cast(CohortBook, Elsewhere("cohort", ask)))
    return SiteBooks(cast(Gate, Elsewhere("gate", ask)), cohort, cast(SumBook, SumsElsewhere(ask)))


def answers_of(folder: Path, config: SiteConfig) -> Ask:
    """Open the books of a site's folder, and return what answers a job's questions by them.

    Raises:
        WardroundError: One of the books can't be used.
    """
    books = SiteBooks.open(folder, config)
    offered = {
        "gate": books.gate,
        "cohort": CohortBook(folder / COHORT_BOOK),
        "sums": books.sums,
        "sets": books.sums.sets,
    }
    return lambda question: _answer(offered, question)


def _answer(books: Mapping[str, object], question: bytes) -> bytes:
    """Answer a question; whatever goes wrong is part of the answer."""
    said: dict[str, Any]
    try:
        book, name, text = json.loads(question)
        if book not in _OFFERED or name not in _OFFERED[book][1]:
            raise ValueError(f"{book}.{name} is not offered")
        form = _form(book, name)
        arguments = form.arguments.model_validate_json(text)
        given = {key: getattr(arguments, key) for key in form.takes}
        value = getattr(books[book], name)(**given)
        said = {"returned": form.returned.model_construct(value=value).model_dump_json()}
    except WardroundError as error:
        kind = next((name for name, kind in _ERRORS.items() if isinstance(error, kind)), RunError.__name__)
        said = {
            "error": {"kind": kind, "problem": error.problem, "where": error.where, "remedy": error.remedy}
        }
    except Exception:
        _log.exception("a question of the site's job can't be answered")
        said = {"error": {"kind": _FAULT}}
    return json.dumps(said).encode()


def _error(parts: Mapping[str, Any]) -> Exception:
    if parts["kind"] == _FAULT:
        return RuntimeError("the site's service could not answer; its log tells more")
    return _ERRORS[parts["kind"]](parts["problem"], where=parts["where"], remedy=parts["remedy"])


@dataclass(frozen=True)
class _Form:
    """How a call travels."""

    takes: tuple[str, ...]
    arguments: type[BaseModel]
    returned: type[BaseModel]


@cache
def _form(book: str, name: str) -> _Form:
    """Return how a call travels, as the types of its parameters say."""
    method = getattr(_OFFERED[book][0], name)
    hints, takes = get_type_hints(method), {}
    returned = hints.pop("return")
    for key, kind in hints.items():
        default = signature(method).parameters[key].default
        takes[key] = (_TRAVELS.get(kind, kind), ... if default is Parameter.empty else default)
    return _Form(
        tuple(takes),
        create_model(name, __config__=_CONFIG, **takes),  # type: ignore[call-overload]
        create_model(name, __config__=_CONFIG, value=(returned, ...)),
    )


def _written(visit: Visit | None) -> dict[str, Any] | None:
    if visit is None:
        return None
    return {one.name: getattr(visit, one.name) for one in fields(visit)} | {"job": visit.job.canonical()}


def _read(parts: Visit | dict[str, Any] | None) -> Visit | None:
    return Visit(**(parts | {"job": _job(parts["job"])})) if isinstance(parts, dict) else parts


@lru_cache(maxsize=8)
def _job(canonical: str) -> JobSpec:
    return parse_job(json.loads(canonical), "the job of a question")


_CONFIG = ConfigDict(
    ser_json_bytes="base64",
    val_json_bytes="base64",
    ser_json_inf_nan="constants",
    arbitrary_types_allowed=True,
)
# A job travels as what its digest is of.
_VISIT = Annotated[Any, PlainSerializer(_written), PlainValidator(_read)]
_TRAVELS: dict[Any, Any] = {Visit: _VISIT, Visit | None: _VISIT}
