"""What a scanner measured, before there is an image of it."""

from abc import abstractmethod
from pathlib import Path
from typing import ClassVar

from client.data.images.file_hash import content_hash
from client.data.kinds.base import Kind
from client.data.manifest.rows import Record


class MeasuredKind(Kind):
    """A measurement, in a file of its own: an image is made of it, and lies nowhere before.

    Attributes:
        endings: Of its files, in lower case.
    """

    endings: ClassVar[tuple[str, ...]]

    def files(self, record: Record) -> tuple[Path, ...]:
        """See the base class."""
        return (record.file(self.columns[0]),)

    def source(self, record: Record) -> str:
        """See the base class."""
        return content_hash(self.files(record)[0])

    @classmethod
    def fits(cls, path: Path) -> bool:
        """Say whether a file is called as one of them."""
        return path.name.lower().endswith(cls.endings)

    @abstractmethod
    def spacing(self, record: Record) -> tuple[float, ...] | None:
        """Return the millimetres of a pixel of the image that is made of it; None where unknown.

        Raises:
            DataError: The file can't be read.
        """
