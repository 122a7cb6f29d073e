"""Tables of a run as pandas has them; pandas is an extra, which only these need."""

import io
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from shared.errors import WardroundError

if TYPE_CHECKING:
    from types import ModuleType

    import pandas as pd

    from server.report.content import Report


def frame(rows: Sequence[Mapping[str, Any]]) -> "pd.DataFrame":
    """Return rows as a table."""
    return _pandas().DataFrame(list(rows))


def frame_of_csv(text: str) -> "pd.DataFrame":
    """Return the text of a CSV file as a table; an empty cell is an unknown value, other texts are texts."""
    return _pandas().read_csv(io.StringIO(text), keep_default_na=False, na_values=[""])


def frames_of(report: "Report") -> dict[str, "pd.DataFrame"]:
    """Return each table of a report and the points of each figure, by the names that its CSV files have."""
    return {
        f"{section.name}-{table.name}": frame_of_csv(table.as_csv())
        for section in report.sections
        for table in section.all_tables()
    }


def _pandas() -> "ModuleType":
    """Return pandas.

    Raises:
        WardroundError: It is not installed.
    """
    try:
        import pandas as pd
    except ImportError:
        raise WardroundError(
            "tables need pandas", remedy="Install it: pip install 'wardround[notebooks]'."
        ) from None
    return pd
