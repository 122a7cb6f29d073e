"""A kind of field that Wardround has not."""

from typing import Any

from wardround.extend import PointsKind, Record


class CornerKind(PointsKind):
    """One point of an image, in a text file of its own: 'x y'."""

    def rows(self, record: Record) -> list[list[Any]]:
        """See the base class."""
        (path,) = self.files(record)
        return [path.read_text().split()]
