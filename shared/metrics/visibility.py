"""What a hospital lets be seen of what is its alone, and by whom.

A site that keeps its counts says 1 in place of each: on that side it has patients enough, and no more is
known. Such a 1 is not a number of patients or images. It stands in the site's description, beside its
update (`client/guard/release.py`), and in the run's report, where the guarantee
(`server/rounds/guarantee.py`) and the audit of a finished run (`shared/finished_run.py`) must not
take it for a number.
"""

from collections.abc import Mapping
from typing import Literal

FiguresFor = Literal["nobody", "operators", "project"]
"""At the coordinator: nobody, its operators, or everybody who sees the run."""

KEPT = 1
"""What stands in place of a count that stays at its site."""


def counts_are_told(examples: Mapping[str, int]) -> bool:
    """Say whether a site tells how many images it has, by split.

    A site without training images, which only judges, may say `KEPT` of each of the other sides.
    """
    return any(count > KEPT for count in examples.values())
