"""The sums of a run that anybody can check: of each round the sum, and what each site signs of its part.

Under secure aggregation nobody sees a site's part. Where the job asks for it each site signs the hash of its
part beside what it sends (`shared/privacy/secagg/sum_hash.py`); the sum of these is the hash of the sum.
"""

import hashlib
import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
import safetensors.numpy
from numpy.typing import NDArray
from safetensors import SafetensorError

from shared.passport.check import Passport
from shared.passport.documents import Round
from shared.passport.envelope import PassportError
from shared.privacy.secagg.errors import SecureAggregationError
from shared.privacy.secagg.fixed_point import EXTRAS, Codec
from shared.privacy.secagg.limits import LEAST_SITES
from shared.privacy.secagg.sum_hash import BLIND, BYTES, added, hash_of
from shared.run_folder import sum_file
from shared.strategies.exact_mean import ExactMean
from shared.wire.sent import digest_of

_TOTAL, _HASH, _MASKED = "total", "hash/", "masked/"
_MEANS = ("fedavg", "fedprox")  # whose next model is the mean, and nothing else


@dataclass(frozen=True)
class Signed:
    """What a site signs of its part in a sum.

    Attributes:
        masked: SHA-256 of the numbers as they were sent, masked.
        sum_hash: Of the numbers themselves.
    """

    masked: bytes
    sum_hash: bytes


@dataclass(frozen=True)
class RoundSum:
    """A round's sum.

    Attributes:
        total: Of the contributions, with what stands behind the vector (n + EXTRAS + BLIND,).
        sites: What each site in it signs.
    """

    total: NDArray[np.uint64]
    sites: Mapping[str, Signed]

    def checked(self, job: str) -> Self:
        """Return this sum if it is that of what its sites sign.

        Args:
            job: Digest of the job.

        Raises:
            SecureAggregationError: It is not.
        """
        if added(one.sum_hash for one in self.sites.values()) != hash_of(self.total, job):
            raise SecureAggregationError(
                "the sum is not that of what its sites sign: one of them sent something else than it signs"
            )
        return self

    def to_bytes(self) -> bytes:
        """Return the content of a file."""
        tensors: dict[str, NDArray[np.generic]] = {_TOTAL: self.total.view(np.int64)}
        for site, one in self.sites.items():
            tensors[_HASH + site] = np.frombuffer(one.sum_hash, np.uint8)
            tensors[_MASKED + site] = np.frombuffer(one.masked, np.uint8)
        return safetensors.numpy.save(tensors)

    @classmethod
    def read(cls, file: Path) -> Self:
        """Read a file.

        Raises:
            PassportError: It is none of a sum.
        """
        try:
            tensors = safetensors.numpy.load(file.read_bytes())
            total = tensors.pop(_TOTAL).view(np.uint64)
            names = [name.removeprefix(_HASH) for name in tensors if name.startswith(_HASH)]
            sites = {
                name: Signed(tensors.pop(_MASKED + name).tobytes(), tensors.pop(_HASH + name).tobytes())
                for name in names
            }
        except (OSError, KeyError, ValueError, TypeError, SafetensorError) as error:
            raise PassportError(f"can't be read as a sum ({error})", where=file) from None
        if tensors or total.ndim != 1 or any(len(one.sum_hash) != BYTES for one in sites.values()):
            raise PassportError("is not the sum of a round", where=file)
        return cls(total, sites)

    def mean(self, sites: int) -> NDArray[np.float32]:
        """Return the model that follows, as the coordinator computes it.

        Args:
            sites: That were asked; the mean does not depend on it.

        Raises:
            SecureAggregationError: The sum is of no updates.
        """
        mean = ExactMean(self.total.size - EXTRAS - BLIND)
        mean.add(Codec(sites).decode(self.total[:-BLIND]).vector, 1)
        return mean.mean()


@dataclass(frozen=True)
class Sums:
    """The sums that were checked.

    Attributes:
        rounds: Whose sums are those of what their sites sign.
        missing: Rounds whose files are not there.
        models: Whether the model after each of these rounds was shown to be the mean of its sum.
    """

    rounds: list[int]
    missing: list[int]
    models: bool

    def lines(self) -> Iterator[str]:
        """Yield what was found, for people."""
        if self.rounds:
            model = "and the model after each of them is the mean" if self.models else ""
            link = model or "that the models follow from them is the coordinator's word"
            yield f"sums of {_many(self.rounds)}: each is that of what its sites sign, {link}"
        if self.missing:
            yield f"sums of {_many(self.missing)}: NOT CHECKED, their files are not here"


def asks_for_sums(passport: Passport) -> bool:
    """Say whether the job of a run asks for sums that anybody can check."""
    return bool(_table(passport, "privacy").get("verifiable_sum"))


def check_sums(passport: Passport, folder: Path) -> Sums:
    """Check the sums that lie in the folder of a run.

    Args:
        passport: Was checked.
        folder: Of the run.

    Raises:
        PassportError: A sum is not that of what its sites sign, or a model is not its mean.
    """
    rounds, missing, means = [], [], _are_means(passport)
    for one in passport.content.rounds:
        file = folder / sum_file(one.round)
        if not file.is_file():
            missing.append(one.round)
            continue
        found = RoundSum.read(file)
        try:
            _check_round(passport, one, found.checked(passport.digest), means=means)
        except SecureAggregationError as error:
            raise PassportError(error.problem, where=file) from None
        rounds.append(one.round)
    return Sums(rounds, missing, means)


def _check_round(passport: Passport, one: Round, found: RoundSum, *, means: bool) -> None:
    """Check that a sum is of those sites, and of what they sign, whose updates are in a round.

    Raises:
        SecureAggregationError: It is not.
    """
    signed = {name: digest_of(own.masked, own.sum_hash) for name, own in found.sites.items()}
    if signed != one.updates:
        raise SecureAggregationError("is of other sites, or of other updates, than the passport has")
    if not means:
        return
    numbers = sum(math.prod(tensor.shape) for tensor in passport.content.tensors)
    if found.total.size != numbers + EXTRAS + BLIND:
        raise SecureAggregationError("has another length than the model")
    mean = found.mean(max(len(found.sites), LEAST_SITES))
    if hashlib.sha256(mean.data).hexdigest() != one.model:
        raise SecureAggregationError(f"the model after round {one.round} is not the mean of its sum")


def _are_means(passport: Passport) -> bool:
    """Say whether the model after each round is the mean of the updates as a whole, by the job."""
    strategy, update, judged = (_table(passport, name) for name in ("strategy", "update", "evaluation"))
    later = update.get("parts") or judged.get("average_last") or judged.get("average_decay")
    return not later and strategy.get("name") in _MEANS


def _table(passport: Passport, name: str) -> dict[str, object]:
    found = json.loads(passport.content.job).get(name)
    return found if isinstance(found, dict) else {}


def _many(rounds: list[int]) -> str:
    if rounds == list(range(rounds[0], rounds[-1] + 1)) and len(rounds) > 1:
        return f"rounds {rounds[0]} to {rounds[-1]}"
    return f"round{'s' if len(rounds) > 1 else ''} {', '.join(map(str, rounds))}"
