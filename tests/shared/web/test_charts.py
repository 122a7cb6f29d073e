"""Charts, as a person sees them."""

import re

from shared.metrics.figures import Figure
from shared.web.charts import svg


def drawn(names: list[str]) -> str:
    points = [(name, along, along) for name in names for along in (0.0, 0.5, 1.0)]
    columns = ("class", "false positive rate", "sensitivity")
    return svg(Figure("roc", "ROC curve", columns, points, unit=True))


def width(text: str) -> float:
    found = re.search(r'width="([\d.]+)"', text)
    assert found is not None
    return float(found[1])


def test_names_of_curves_lie_beside_them() -> None:
    """Of seven classes, names in a corner of the square lay on the curves."""
    assert width(drawn(list("abcdefg"))) > width(drawn(["a"])) + 38
