"""Which version of Wardround each site has, as it last said: kept in a file, for other processes."""

import json
from contextlib import suppress
from pathlib import Path

from shared.files import replace_file

_FILE = "site-versions.json"


class SiteVersions(dict[str, str]):
    """Versions by site, written down whenever one changes.

    Args:
        folder: The coordinator's.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__(read_versions(folder))
        self._file = folder / _FILE

    def __setitem__(self, site: str, version: str) -> None:
        """Take note of what a site says."""
        if self.get(site) != version:
            super().__setitem__(site, version)
            with suppress(OSError):  # a full disk holds up no site
                replace_file(self._file, json.dumps(self).encode(), sync=False)


def read_versions(folder: Path) -> dict[str, str]:
    """Return the versions that are written down; nothing where there is no such file."""
    try:
        found = json.loads((folder / _FILE).read_bytes())
    except (OSError, ValueError):
        return {}
    return {str(site): str(version) for site, version in found.items()} if isinstance(found, dict) else {}
