"""Paths in texts for people who do not know the machine that they are of."""

import re

_PATH = re.compile(r"""(?<![\w./~:-])/(?:[^\s/'"`:,;()]+/)+(?P<name>[^\s/'"`:,;()]+)""")


def without_folders(text: str) -> str:
    """Return a text in which files are named without the folders in which they lie.

    >>> without_folders("/var/lib/coordinator/runs/a/run.json: can't be written")
    "run.json: can't be written"
    """
    return _PATH.sub(lambda path: path["name"], text)
