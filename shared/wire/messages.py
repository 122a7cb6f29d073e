"""The records inside every message between coordinator and site: keys, builders and parsers.

Every message is self-contained: a site that has just restarted can serve it. Every parser checks what it
reads, since it came over the network.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar, cast, get_args

import numpy as np
from flwr.app import Array, ArrayRecord, ConfigRecord, MetricRecord, RecordDict
from numpy.typing import NDArray

from shared.errors import WardroundError
from shared.limits import LARGEST_JOB
from shared.metrics.visibility import FiguresFor
from shared.text.names import NAME
from shared.wire.flat_array import array_records, to_array, view

ARRAYS = "arrays"
VECTOR = "vector"
EDGES = "edges"
UPDATE = "update"
CONFIG = "config"
METRICS = "metrics"
STATES = "states"

DESCRIBE = "describe"
STATISTICS = "statistics"

CRASH = 1000  # code of an error reply for a fault of the program
SITE_ERROR = 1001  # code of an error reply that says in its reason what a person can do
LOG_CUT = 1002  # code of an error reply: the site's audit log is not the one that the coordinator knows
_LONGEST_NAME = 200

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
    edges: NDArray[np.float64] | None  # evaluation: of the bins of scores; to be checked by the task
    run: str  # as `Question.run`
    best: int = 0  # the best round so far, whose model may be asked for in the test; 0 where there is none
    statistics: tuple[float, ...] = ()  # sums over all sites that the job asks for, packed; to be checked


@dataclass(frozen=True)
class Question:
    """What every request says of itself, before anything is loaded for it."""

    job: str  # canonical JSON
    round: int  # 0: a description is asked for
    split: str
    researcher: str  # who submitted the job, on the coordinator's word; empty where it names nobody
    project: str = ""  # of the run, on the coordinator's word
    run: str = ""  # name of the run, the same after it was resumed; empty in a description


@dataclass(frozen=True)
class Description:
    """What a site says of its data for one job: counts, never images."""

    site: str
    patients: dict[str, int]  # by split
    examples: dict[str, int]  # by split
    figures_for: FiguresFor = "nobody"  # whom the coordinator may show what is this site's alone


@dataclass(frozen=True)
class Update:
    """What a site returns after training."""

    vector: NDArray[np.float32]
    examples: int
    loss: float  # NaN: the site does not share it
    seconds: float


@dataclass(frozen=True)
class Evaluation:
    """What a site returns after evaluating: metric states that add up."""

    states: NDArray[np.float64]
    examples: int
    seconds: float


def vector_record(vector: NDArray[np.float32]) -> ArrayRecord:
    """Return the model as Flower carries it: one array under one key."""
    return ArrayRecord({VECTOR: to_array(vector.astype(np.float32, copy=False))})


def evaluation_record(vector: NDArray[np.float32], edges: NDArray[np.float64] | None) -> ArrayRecord:
    """Return a model that is to be evaluated, and the edges of the bins where the task has any."""
    record = vector_record(vector)
    if edges is not None:
        record[EDGES] = to_array(edges.astype(np.float64, copy=False))
    return record


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
    return cast(NDArray[np.float32], vector)


def request_config(
    job: str,
    layout: str,
    round_: int,
    *,
    split: str = "",
    researcher: str = "",
    project: str = "",
    run: str = "",
    best: int = 0,
    statistics: Sequence[float] = (),
) -> ConfigRecord:
    """Return the configuration that goes with a model to a site."""
    return ConfigRecord(
        {
            **({STATISTICS: list(statistics)} if statistics else {}),
            "job": job,
            "layout": layout,
            "round": round_,
            "split": split,
            "researcher": researcher,
            "project": project,
            "run": run,
            "best": best,
        }
    )


def read_question(content: RecordDict) -> Question:
    """Parse what a site's policy looks at.

    Raises:
        MessageError: Something is missing or has another type.
    """
    config = _record(content, CONFIG, ConfigRecord)
    given = {"round": 0, "split": "", "researcher": "", "project": "", "run": ""} | dict(config)
    round_, split, researcher = given["round"], given["split"], given["researcher"]
    if not isinstance(round_, int) or round_ < 0 or not isinstance(split, str):
        raise MessageError("'round' must be a number from 0 and 'split' a text")
    for name, text in (("researcher", researcher), ("project", given["project"])):
        if not isinstance(text, str) or not re.fullmatch(f"({NAME})?", text):
            raise MessageError(f"'{name}' must be a name, or empty")
    job = _value(config, "job", str)
    if len(job) > LARGEST_JOB:
        raise MessageError(f"'job' must have {LARGEST_JOB} characters at most")
    if not isinstance(run := given["run"], str) or len(run) > _LONGEST_NAME:
        raise MessageError("'run' must be a short text")
    return Question(job, round_, split, str(researcher), str(given["project"]), run)


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
    split = _value(config, "split", str)
    if split not in ("", "val", "test"):
        raise MessageError(f"asks for the split '{split}'")
    return Request(
        job=_value(config, "job", str),
        round=_count(config, "round"),
        layout=_value(config, "layout", str),
        vector=cast(NDArray[np.float32], vector),
        split=split,
        edges=cast(NDArray[np.float64], _array(arrays[EDGES], np.float64)) if EDGES in arrays else None,
        run=read_question(content).run,
        best=_count(config, "best") if "best" in config else 0,
        statistics=numbers_in(config, STATISTICS),
    )


def config_in(content: RecordDict) -> ConfigRecord:
    """Return the configuration of a message, unchecked; an empty one where it has none."""
    config = content.get(CONFIG)
    return config if isinstance(config, ConfigRecord) else ConfigRecord()


def numbers_in(config: ConfigRecord, key: str) -> tuple[float, ...]:
    """Return a list of numbers of a configuration; nothing where it has none.

    Raises:
        MessageError: It is something else.
    """
    given = config.get(key, [])
    if not isinstance(given, list) or not all(type(number) is float for number in given):
        raise MessageError(f"carries {key} that are not numbers")
    return tuple(float(number) for number in given)


def describe_request(job: str, researcher: str = "", project: str = "", run: str = "") -> RecordDict:
    """Return the question what a site has for a job."""
    config = {"job": job, "researcher": researcher, "project": project, "run": run}
    return RecordDict({CONFIG: ConfigRecord(config)})


def describe_reply(description: Description) -> RecordDict:
    """Return a site's answer to `describe_request`."""
    config = ConfigRecord({"site": description.site, "figures-for": description.figures_for})
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
    site = _value(config, "site", str)
    if not re.fullmatch(NAME, site):  # it will stand in tables and in names of files
        raise MessageError("its site's name has characters that no name has")
    figures_for = _value(config, "figures-for", str)
    if figures_for not in get_args(FiguresFor):
        raise MessageError("shows its figures to nobody that there is")
    return Description(
        figures_for=cast(FiguresFor, figures_for),
        site=site,
        patients={split: _count(config, f"patients-{split}") for split in splits},
        examples={split: _count(config, f"examples-{split}") for split in splits},
    )


def train_reply(update: Update, encoded: bytes | None = None) -> RecordDict:
    """Return a site's answer after training: the model, or the encoded update where the job filters it."""
    metrics = MetricRecord({"num-examples": update.examples, "loss": update.loss, "seconds": update.seconds})
    if encoded is None:
        return RecordDict({ARRAYS: vector_record(update.vector), METRICS: metrics})
    array = to_array(np.frombuffer(encoded, np.uint8))
    return RecordDict({ARRAYS: ArrayRecord({UPDATE: array}), METRICS: metrics})


def read_update(
    content: RecordDict, size: int, decode: Callable[[bytes], NDArray[np.float32]] | None = None
) -> Update:
    """Parse a site's answer after training.

    Args:
        content: Of the answer.
        size: Length of the model's vector.
        decode: Returns the vector (size,) of an encoded update or raises MessageError; None where the job
            does not filter updates.

    Raises:
        MessageError: Something is missing, has another type or is not finite.
    """
    metrics = _record(content, METRICS, MetricRecord)
    arrays = _record(content, ARRAYS, ArrayRecord)
    vector = read_vector(arrays, size) if decode is None else decode(_encoded(arrays))
    loss = _value(metrics, "loss", float)
    if not np.isnan(loss):
        loss = _finite(metrics, "loss")
    return Update(vector, _examples(metrics), loss, _finite(metrics, "seconds"))


def _encoded(record: ArrayRecord) -> bytes:
    if list(record.keys()) != [UPDATE]:
        raise MessageError(f"carries the arrays {sorted(record.keys())} instead of one encoded update")
    try:
        values = view(record[UPDATE])
    except ValueError as error:
        raise MessageError(f"carries an array that {error}") from None
    if values.dtype != np.uint8 or values.ndim != 1:
        raise MessageError("carries an encoded update that is not a row of bytes")
    return values.tobytes()


def evaluate_reply(evaluation: Evaluation) -> RecordDict:
    """Return a site's answer after evaluating."""
    return RecordDict(
        {
            STATES: ArrayRecord({STATES: to_array(evaluation.states.astype(np.float64, copy=False))}),
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


def array_bytes(content: RecordDict) -> int:
    """Return the bytes of a message's arrays, without the headers around them."""
    arrays = (array for record in array_records(content).values() for array in record.values())
    return sum(view(array).nbytes for array in arrays)


def _array(array: Array, kind: type[np.floating]) -> NDArray[np.floating]:
    try:
        values = view(array)
    except ValueError as error:
        raise MessageError(f"carries an array that {error}") from None
    if values.dtype != kind:
        raise MessageError(f"carries {values.dtype} where {np.dtype(kind)} belongs")
    if not np.isfinite(values).all():
        raise MessageError("carries numbers that are not finite")
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


def _finite(record: ConfigRecord | MetricRecord, key: str) -> float:
    value = float(_value(record, key, float))
    if not np.isfinite(value):
        raise MessageError(f"'{key}' is not finite")
    return value
