"""Filters for what a site sends: which parts of the model, in how many bits, how large a change.

What is filtered is the *update*, the difference between the model that the site has trained and the one that
it was sent. The coordinator adds what arrives to the model that it sent, in float32, before any strategy sees
it. Statistics, such as those of batch norm, are not trained but counted: they are always sent as float32, as
a rounded variance could become negative.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from shared.privacy.codecs import Codec, Dense, Int8, TopK, Vector
from shared.wire.messages import MessageError
from shared.wire.packed_model import Layout

if TYPE_CHECKING:
    from shared.job.schema import UpdateTable

_MARGIN = 1 - 2**-7  # below the clipping norm, where rounding had led above it
_ROUNDING = 1e-6  # relative, of a norm that was brought to the clipping norm in float32


class UpdateFilter:
    """What a job's `[update]` table makes of the updates of one model.

    Args:
        table: Of the job.
        is_sent: Says by its name whether a tensor that is not trained is sent.
        layout: Of the model as `shared.networks.build.build_model` builds it for the job: what is frozen
            stands behind what is trained.
    """

    def __init__(self, table: "UpdateTable", is_sent: Callable[[str], bool], layout: Layout) -> None:
        self._table = table
        self.trained = layout.parameters
        self._statistics = _statistics(is_sent, layout)
        self._numbers = _codec(table, self.trained)
        self._counts = Dense(self._statistics.size, "float32")

    @property
    def size(self) -> int:
        """Numbers that are sent, before compression."""
        return self.trained + self._statistics.size

    @property
    def keeps_residual(self) -> bool:
        """Whether what compression leaves out is kept at the site for its next round."""
        return self._table.compression != "none"

    def select(self, vector: Vector) -> Vector:
        """Return what is sent of a vector (layout.size,), shape (size,): the vector itself if all is."""
        if self.size == vector.size:
            return vector
        return np.concatenate([vector[: self.trained], vector[self._statistics]])

    def expand(self, selected: Vector, base: Vector) -> Vector:
        """Return the vector `base`, shape (layout.size,), with a part (size,) of it replaced."""
        if self.size == base.size:
            return selected
        vector = base.copy()
        vector[: self.trained] = selected[: self.trained]
        vector[self._statistics] = selected[self.trained :]
        return vector

    def clipped(self, trained: Vector, base: Vector) -> Vector:
        """Return the part of a trained model that is sent, its change scaled down to the clipping norm.

        Args:
            trained: What the site has trained, shape (layout.size,).
            base: What it was sent, shape (layout.size,).
        """
        selected, before = self.select(trained), self.select(base)
        if self._table.clip is None:
            return selected
        change = selected - before
        factor = self._factor(change)
        return selected if factor == 1 else before + np.float32(factor) * change

    def encode(self, trained: Vector, base: Vector, residual: Vector | None) -> tuple[bytes, Vector | None]:
        """Return what a site sends, and what it keeps for its next round.

        Error feedback (Seide et al. 2014; Karimireddy et al. 2019): what compression has left out is added to
        the next update, so that nothing is lost but what clipping takes.

        Args:
            trained: What the site has trained, shape (layout.size,).
            base: What it was sent, shape (layout.size,).
            residual: What it kept from its last round, shape (trained,); None in its first.

        Raises:
            JobError: A number is beyond the range of the job's precision.
        """
        change = self.select(trained) - self.select(base)
        if residual is not None:
            change[: self.trained] += residual
        change *= np.float32(self._factor(change))
        content, decoded = self._code(change)
        norm = _norm(decoded)
        if self._table.clip is not None and norm > self._table.clip * (1 + _ROUNDING):
            change *= np.float32(_MARGIN * self._table.clip / norm)
            content, decoded = self._code(change)
        if not self.keeps_residual:
            return content, None
        return content, change[: self.trained] - decoded[: self.trained]

    def decode(self, content: bytes, base: Vector) -> Vector:
        """Return the trained model that a site's bytes stand for.

        Args:
            content: As it arrived.
            base: What the site was sent, shape (layout.size,).

        Raises:
            MessageError: The bytes are not an encoding of an update, or of one beyond the clipping norm.
        """
        change = self._decoded(content)
        if self._table.clip is not None and _norm(change) > self._table.clip * (1 + 2 * _ROUNDING):
            raise MessageError(f"carries an update whose norm is above [update] clip = {self._table.clip:g}")
        with np.errstate(over="ignore"):
            vector = self.expand(self.select(base) + change, base)
        if not np.isfinite(vector).all():
            raise MessageError("carries numbers that are not finite")
        return vector

    def _factor(self, change: Vector) -> float:
        clip = self._table.clip
        norm = _norm(change) if clip is not None else 0.0
        return 1.0 if clip is None or norm <= clip else clip / norm

    def _code(self, change: Vector) -> tuple[bytes, Vector]:
        numbers, counts = change[: self.trained], change[self.trained :]
        content = self._numbers.encode(numbers) + self._counts.encode(counts)
        return content, self._decoded(content)

    def _decoded(self, content: bytes) -> Vector:
        expected = self._numbers.length + self._counts.length
        if len(content) != expected:
            raise MessageError(f"carries {len(content)} bytes of an update instead of {expected}")
        numbers = self._numbers.decode(content[: self._numbers.length])
        return np.concatenate([numbers, self._counts.decode(content[self._numbers.length :])])


def _codec(table: "UpdateTable", size: int) -> Codec:
    if table.compression == "int8":
        return Int8(size)
    if table.keep is not None:
        return TopK(size, table.keep, table.precision)
    return Dense(size, table.precision)


def _statistics(is_sent: Callable[[str], bool], layout: Layout) -> NDArray[np.int64]:
    """Return the places of what is sent but not trained: statistics of the parts, and what is no model's."""
    spans, begin = [], 0
    for entry in layout.entries:
        end = begin + entry.size
        if begin >= layout.parameters and (entry.is_beside or is_sent(entry.name)):
            spans.append(np.arange(begin, end))
        begin = end
    return np.concatenate([np.empty(0, dtype=np.int64), *spans])


def _norm(values: Vector) -> float:
    """Return the L2 norm, summed in float64."""
    return float(np.sqrt(np.sum(np.square(values, dtype=np.float64))))
