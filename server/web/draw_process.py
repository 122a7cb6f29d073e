"""Draws the figures that come on stdin, each a line of JSON, as SVG on stdout; ends with stdin."""

import json
import os
import sys

from shared.metrics.figures import Figure
from shared.web.charts import svg

_NICE = 19  # rounds go first


def _main() -> None:
    os.nice(_NICE)
    for line in sys.stdin:
        asked = json.loads(line)
        asked["columns"] = tuple(asked["columns"])
        asked["points"] = [tuple(point) for point in asked["points"]]
        print(json.dumps(svg(Figure(**asked))), flush=True)


if __name__ == "__main__":
    _main()
