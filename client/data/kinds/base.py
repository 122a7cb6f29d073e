"""What a kind of field is: how its values are read, fitted, moved, shaded, stacked and counted."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from client.data.kinds.drawing import Drawing
from client.data.kinds.tally import Tally
from client.data.manifest.rows import Record
from client.data.motion.steps import Step, Value, whole
from shared.job.data_options import DataTable
from shared.tasks.fields import Field

if TYPE_CHECKING:
    from client.data.kinds.row_images import Scene


@dataclass(frozen=True)
class Instance:
    """One of several images or rows that are a value together.

    Attributes:
        file: That it is of, as the manifest names it; empty where a table has it.
        left: Of a tile of a slide, in pixels of its finest level; likewise `top`, `width`, `height`.
    """

    file: str
    left: int | None = None
    top: int | None = None
    width: int | None = None
    height: int | None = None


class Kind(ABC):
    """One field of a job's samples.

    Attributes:
        in_manifest: Its values are in the manifest itself: they are read anew each time, and never stored.
        lies_on_grid: Its last axes are those of the sample's image.
        needs_image: It lies on an image, and is read beside it.
        stacks: The values of a batch become one tensor; otherwise they stay a list.
        settings: Keys of the job's `[data]` on which its values depend.
        seed: The job's, for what is drawn of a file.
    """

    in_manifest: ClassVar[bool] = False
    lies_on_grid: ClassVar[bool] = False
    needs_image: ClassVar[bool] = False
    stacks: ClassVar[bool] = True
    settings: ClassVar[frozenset[str]] = frozenset()
    seed: int = 0

    def __init__(self, name: str, field: Field, data: DataTable) -> None:
        self.name = name
        self.field = field
        self.data = data

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns of the manifest that it needs."""
        return self.field.columns

    @property
    def file_columns(self) -> tuple[str, ...]:
        """The columns whose cells name files, and the tables beside the manifest that it reads."""
        return self.field.columns if type(self).files is not Kind.files else ()

    def files(self, record: Record) -> tuple[Path, ...]:
        """Return the files that its value is read from."""
        return ()

    def is_given(self, record: Record) -> bool:
        """Say whether a row has a value, right or wrong: a target may be unknown where a model is used."""
        return all(record.cells.get(column) for column in self.columns)

    def is_unknown(self, record: Record) -> bool:
        """Say whether a row is a sample without this value, of a job that says what becomes of such."""
        return self.field.partly_known and not self.is_given(record)

    def source(self, record: Record) -> str:
        """Return text that differs where the value could: hashes of files, cells of the manifest.

        Raises:
            DataError: A file can't be read.
        """
        return "\x1f".join(record.cells.get(column, "") for column in self.field.columns)

    def require_matches(self, _: Sequence[Record]) -> list[str]:
        """Refuse a table beside the manifest that belongs to none of its rows.

        Returns:
            In words, what looks wrong where it belongs to some; most kinds have no table to match.

        Raises:
            DataError: Not one of the rows has any there: the names do not fit.
        """
        return []

    @abstractmethod
    def read(self, record: Record, scene: "Scene") -> NDArray[Any]:
        """Return the value of a row, fitted to the grid that a network sees.

        Args:
            record: The row.
            scene: The images and masks of the row as their files hold them.

        Raises:
            DataError: It can't be read, or does not fit the job.
        """

    def move(self, value: Value, steps: Sequence[Step]) -> Tensor:
        """Return a value after all steps; one without a place does not move."""
        return whole(value)

    def shade(self, value: Tensor, names: Sequence[str], rng: np.random.Generator) -> Tensor:
        """Return a value after the named changes of shade, which only images know."""
        return value

    def centre(self, value: Value, rng: np.random.Generator, memo: dict[str, Any]) -> Sequence[int] | None:
        """Draw a pixel of what the task looks for; None where the value has nothing of it.

        Args:
            value: Of one sample.
            rng: Where the draw comes from.
            memo: Of this sample; what was found is kept in it for the next draw.
        """
        return None

    def stack(self, values: Sequence[Tensor]) -> Tensor | list[Tensor]:
        """Return the values of a batch.

        Raises:
            ValueError: They should be one tensor and have several shapes.
        """
        if not self.stacks:
            return list(values)
        if len({value.shape for value in values}) > 1:
            raise ValueError(f"the field '{self.name}' of a batch has several shapes")
        return torch.stack(list(values))

    def drawing(self, value: NDArray[Any]) -> Drawing:
        """Return how a value is drawn over its image, where a person looks at the data; here, not at all."""
        return Drawing()

    def instances(self, record: Record) -> Sequence[Instance]:
        """Return what the instances of a bag or a series are, in their order; nothing of other values.

        Raises:
            DataError: A file can't be read.
        """
        return ()

    def tally(self, value: NDArray[Any], into: Tally) -> None:  # noqa: B027 (images have nothing to count)
        """Count a value that was read, for a person who checks the data."""

    def describe(self, record: Record, into: Tally) -> None:  # noqa: B027 (most say all with their values)
        """Count what a row's files say beside their values, for a person who checks the data.

        Raises:
            DataError: A file can't be read.
        """

    @property
    def draws(self) -> bool:
        """Whether its values depend on the job's seed."""
        return False

    @property
    def classes(self) -> int:
        """How many classes its values are of; 0 where it knows none."""
        return 0

    def class_counts(self, value: Tensor) -> NDArray[np.int64]:
        """Return how often each class is in a value, (classes,)."""
        return np.zeros(self.classes, np.int64)
