"""Who took part in which round: a file of the run, and all that a simulation needs to repeat it.

One line of JSON for each round, written with the round's rows of the tables: `can_train` are the sites that
could train, `drawn` those that were asked to, `trained` those whose updates are in the model, `judges` those
that were asked to judge it, `judged` those that did. Of real sites it also has, as SHA-256, the packed
`model` after the round and the `updates` in it, by site, for the run's passport. Line 0 has the job's
digest, and as `summed` the sites whose statistics were added up before the first round; the last line, with
`test`, says the same of the test.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import Field, ValidationError

from shared.errors import RunError
from shared.job.schema import JobSpec
from shared.run_folder import PARTICIPATION
from shared.table import Name, Table

Names = Annotated[list[Name], Field(max_length=100_000)]
_LARGEST = 2**28  # bytes


class Part(Table):
    """Who took part in a round; see above."""

    round: int = Field(ge=0)
    job: str = ""
    test: bool = False
    summed: Names = Field([])
    can_train: Names = Field([])
    drawn: Names = Field([])
    trained: Names = Field([])
    judges: Names = Field([])
    judged: Names = Field([])
    model: str = Field("", max_length=64)
    updates: dict[Name, str] = Field({}, max_length=100_000)


@dataclass(frozen=True)
class Participation:
    """The record of a run.

    Attributes:
        rounds: By number; 0 is what came before the first.
        test: Who tested the model; None where the run had not come to its end.
    """

    rounds: Mapping[int, Part]
    test: Part | None

    @classmethod
    def read(cls, path: Path, job: JobSpec | None = None) -> Self:
        """Read the record of a run, from its folder or from the file alone.

        Args:
            path: Of either.
            job: To which it must belong.

        Raises:
            RunError: It can't be read, is damaged, or is of another job.
        """
        file = path / PARTICIPATION if path.is_dir() else path
        try:
            if file.stat().st_size > _LARGEST:
                raise RunError(f"is larger than {_LARGEST} bytes", where=file)
            lines = file.read_text(encoding="utf-8").splitlines()
            parts = [Part.model_validate_json(line, strict=True) for line in lines]
        except (OSError, UnicodeDecodeError) as error:
            raise RunError(f"can't be read ({error})", where=file) from None
        except ValidationError as error:
            raise RunError(
                f"is no record of who took part ({error.errors()[0]['msg']})", where=file
            ) from None
        rounds = {part.round: part for part in parts if not part.test}
        if 0 not in rounds:
            raise RunError("is no record of who took part: line 0 is missing", where=file)
        if job is not None and rounds[0].job != job.digest():
            raise RunError(
                f"belongs to another job (digest {rounds[0].job[:12]}, not {job.digest()[:12]})",
                where=file,
                remedy="Leave the job out and name the run's folder, or name the job as it was submitted.",
            )
        return cls(rounds, next((part for part in parts if part.test), None))

    def without(self, site: str, job: JobSpec) -> Self:
        """Return the record as if a site had never been there, as that of another job.

        Args:
            site: Its name.
            job: That repeats the others' part.
        """
        return type(self)(
            {number: _without(part, site) for number, part in self.rounds.items()}
            | {0: _without(self.rounds[0], site).model_copy(update={"job": job.digest()})},
            None if self.test is None else _without(self.test, site),
        )

    def of(self, round_: int) -> Part:
        """Return who took part in a round.

        Raises:
            RunError: The run had not come so far.
        """
        if round_ not in self.rounds:
            raise RunError(
                f"the record of who took part ends before round {round_}",
                remedy="Repeat a run that has finished.",
            )
        return self.rounds[round_]

    def judging(self, round_: int, split: str) -> Part:
        """Return who judged the model after a round, or tested it; all do where it was not tested.

        Raises:
            RunError: The run had not come so far.
        """
        if split != "test":
            return self.of(round_)
        if self.test is None:
            raise RunError("the record has no test", remedy="Repeat a run that has finished.")
        return self.test

    def text(self) -> str:
        """Return it as its file has it."""
        parts = [self.rounds[number] for number in sorted(self.rounds)]
        parts += [] if self.test is None else [self.test]
        return "".join(line(**part.model_dump(exclude_defaults=True)) for part in parts)

    @property
    def sites(self) -> set[str]:
        """The names of all sites that took part."""
        parts = [*self.rounds.values(), *([] if self.test is None else [self.test])]
        return {name for part in parts for name in (*part.can_train, *part.judges)}

    @property
    def could_train(self) -> set[str]:
        """The names of the sites that could train in any round."""
        return {name for number, part in self.rounds.items() if number for name in part.can_train}

    @property
    def lost(self) -> dict[str, int]:
        """The sites that were drawn and did not bring an update, and the first round of each."""
        lost: dict[str, int] = {}
        for number, part in sorted(self.rounds.items()):
            for name in set(part.drawn) - set(part.trained):
                lost.setdefault(name, number)
        return dict(sorted(lost.items()))


def _without(part: Part, site: str) -> Part:
    lists = ("summed", "can_train", "drawn", "trained", "judges", "judged")
    kept = {key: [name for name in getattr(part, key) if name != site] for key in lists}
    return part.model_copy(update={**kept, "model": "", "updates": {}})


def line(**entries: Any) -> str:
    """Return one line of the file."""
    return json.dumps(entries) + "\n"


def lines_until(text: str, round_: int) -> str:
    """Return the lines of the rounds up to one, without what a kill left unfinished."""
    kept = []
    for one in text.splitlines():
        try:
            entry = json.loads(one)
        except ValueError:
            continue
        if isinstance(entry, dict) and not entry.get("test") and entry.get("round", round_ + 1) <= round_:
            kept.append(one + "\n")
    return "".join(kept)
