"""The records inside every message between coordinator and site: keys, builders and parsers.

Every message is self-contained: a site that has just restarted can serve it. Every parser checks what it
reads, since it came over the network.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar, cast

import numpy as np
from flwr.app import Array, ArrayRecord, ConfigRecord, MetricRecord, RecordDict
from numpy.typing import NDArray

from shared.errors import WardroundError

ARRAYS = "arrays"
VECTOR = "vector"
CONFIG = "config"
METRICS = "metrics"
STATES = "states"

DESCRIBE = "describe"

CRASH = 1000  # code of an error reply for a fault of the program
SITE_ERROR = 1001  # code of an error reply that says in its reason what a person can do


T = TypeVar("T")


class MessageError(WardroundError):
    """A message that does not hold what it should."""


@dataclass(frozen=True)
class Request:
    """What a site is asked to do: train or evaluate one model in one round."""

    job: str  # canonical JSON
    round: int
    layout: str  # digest of the layout of the vector
    vector: NDArray[np.float32]  # (layout.size,)
    split: str  # evaluation: "val" or "test"
    proximal_mu: float
    class_counts: tuple[int, ...]  # of the whole federation; empty where the job does not need them


@dataclass(frozen=True)
class Description:
    """What a site says of its data for one job: counts, never images."""

    site: str
    patients: dict[str, int]  # by split
    examples: dict[str, int]  # by split
    class_counts: tuple[int, ...]


@dataclass(frozen=True)
class Update:
    """What a site returns after training."""

    vector: NDArray[np.float32]
    examples: int
    loss: float
    seconds: float


@dataclass(frozen=True)
class Evaluation:
    """What a site returns after evaluating: metric states that add up, never a score of one patient."""

    states: NDArray[np.float64]
    examples: int
    seconds: float


def vector_record(vector: NDArray[np.float32]) -> ArrayRecord:
    """Return the model as Flower carries it: one array under one key."""
    return ArrayRecord({VECTOR: Array(np.ascontiguousarray(vector, dtype=np.float32))})


def read_vector(record: ArrayRecord, size: int) -> NDArray[np.float32]:
    """Return the vector of a record.

    Raises:
        MessageError: It isn't one finite float32 vector of `size` numbers.
    """
    if list(record.keys()) != [VECTOR]:
        raise MessageError(f"carries the arrays {sorted(record.keys())} instead of one packed vector")
    vector = _array(record[VECTOR], np.float32)
    if vector.shape != (size,):
        raise MessageError(f"carries a vector of shape {vector.shape} instead of ({size},)")
    if not np.isfinite(vector).all():
        raise MessageError("carries a vector with numbers that are not finite")
    return cast(NDArray[np.float32], vector)


def request_config(
    job: str, layout: str, round_: int, *, split: str = "", class_counts: Sequence[int] = ()
) -> ConfigRecord:
    """Return the configuration that goes with a model to a site."""
    return ConfigRecord(
        {"job": job, "layout": layout, "round": round_, "split": split, "class-counts": list(class_counts)}
    )


def read_request(content: RecordDict) -> Request:
    """Parse what the coordinator asks of a site.

    Raises:
        MessageError: Something is missing or has another type.
    """
    config = _record(content, CONFIG, ConfigRecord)
    arrays = _record(content, ARRAYS, ArrayRecord)
    if VECTOR not in arrays:
        raise MessageError("carries no model")
    vector = _array(arrays[VECTOR], np.float32)
    if vector.ndim != 1:
        raise MessageError(f"carries a model of shape {vector.shape} instead of one vector")
    counts = config.get("class-counts", [])
    if not isinstance(counts, list) or not all(isinstance(count, int) and count >= 0 for count in counts):
        raise MessageError("class-counts must be a list of counts")
    return Request(
        job=_value(config, "job", str),
        round=_value(config, "round", int),
        layout=_value(config, "layout", str),
        vector=cast(NDArray[np.float32], vector),
        split=_value(config, "split", str),
        proximal_mu=float(config.get("proximal-mu", 0.0)),
        class_counts=tuple(cast(list[int], counts)),
    )


def read_job(content: RecordDict) -> str:
    """Return the canonical JSON of the job that a site is asked to describe its data for."""
    return _value(_record(content, CONFIG, ConfigRecord), "job", str)


def describe_request(job: str) -> RecordDict:
    """Return the question what a site has for a job."""
    return RecordDict({CONFIG: ConfigRecord({"job": job})})


def describe_reply(description: Description) -> RecordDict:
    """Return a site's answer to `describe_request`."""
    config = ConfigRecord({"site": description.site, "class-counts": list(description.class_counts)})
    for split in ("train", "val", "test"):
        config[f"patients-{split}"] = description.patients.get(split, 0)
        config[f"examples-{split}"] = description.examples.get(split, 0)
    return RecordDict({CONFIG: config})


def read_description(content: RecordDict) -> Description:
    """Parse a site's answer to `describe_request`.

    Raises:
        MessageError: Something is missing or has another type.
    """
    config = _record(content, CONFIG, ConfigRecord)
    splits = ("train", "val", "test")
    counts = cast(list[int], config.get("class-counts", []))
    return Description(
        site=_value(config, "site", str),
        patients={split: _count(config, f"patients-{split}") for split in splits},
        examples={split: _count(config, f"examples-{split}") for split in splits},
        class_counts=tuple(int(count) for count in counts),
    )


def train_reply(update: Update) -> RecordDict:
    """Return a site's answer after training."""
    metrics = MetricRecord({"num-examples": update.examples, "loss": update.loss, "seconds": update.seconds})
    return RecordDict({ARRAYS: vector_record(update.vector), METRICS: metrics})


def read_update(content: RecordDict, size: int) -> Update:
    """Parse a site's answer after training; `size` is the length of the model's vector.

    Raises:
        MessageError: Something is missing, has another type or is not finite.
    """
    metrics = _record(content, METRICS, MetricRecord)
    vector = read_vector(_record(content, ARRAYS, ArrayRecord), size)
    return Update(vector, _examples(metrics), _finite(metrics, "loss"), _finite(metrics, "seconds"))


def evaluate_reply(evaluation: Evaluation) -> RecordDict:
    """Return a site's answer after evaluating."""
    return RecordDict(
        {
            STATES: ArrayRecord({STATES: Array(evaluation.states.astype(np.float64))}),
            METRICS: MetricRecord({"num-examples": evaluation.examples, "seconds": evaluation.seconds}),
        }
    )


def read_evaluation(content: RecordDict) -> Evaluation:
    """Parse a site's answer after evaluating; the states are checked when they are merged.

    Raises:
        MessageError: Something is missing or has another type.
    """
    metrics = _record(content, METRICS, MetricRecord)
    record = _record(content, STATES, ArrayRecord)
    if STATES not in record:
        raise MessageError("carries no metric states")
    states = cast(NDArray[np.float64], _array(record[STATES], np.float64))
    return Evaluation(states, _examples(metrics), _finite(metrics, "seconds"))


def _array(array: Array, kind: type[np.floating]) -> NDArray[np.floating]:
    try:
        values = array.numpy()
    except (TypeError, ValueError, EOFError) as error:
        raise MessageError(f"carries an array that can't be read ({error})") from None
    if values.dtype != kind:
        raise MessageError(f"carries {values.dtype} where {np.dtype(kind)} belongs")
    return cast(NDArray[np.floating], values)


def _record(content: RecordDict, key: str, kind: type[T]) -> T:
    record = content.get(key)
    if not isinstance(record, kind):
        raise MessageError(f"has no {kind.__name__} '{key}'")
    return record


def _value(record: ConfigRecord | MetricRecord, key: str, kind: type[T]) -> T:
    value = record.get(key)
    if not isinstance(value, kind) or isinstance(value, bool):
        raise MessageError(f"'{key}' must be {kind.__name__}, not {type(value).__name__}")
    return value


def _count(record: ConfigRecord | MetricRecord, key: str) -> int:
    value = _value(record, key, int)
    if value < 0:
        raise MessageError(f"'{key}' must not be below 0")
    return value


def _examples(record: MetricRecord) -> int:
    value = _count(record, "num-examples")
    if value >= 2**31:
        raise MessageError("'num-examples' is beyond what a site can have")
    return value


def _finite(record: MetricRecord, key: str) -> float:
    value = float(_value(record, key, float))
    if not np.isfinite(value):
        raise MessageError(f"'{key}' is not finite")
    return value
