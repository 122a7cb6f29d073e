"""What a researcher sets for all their runs: `settings.toml` beside their log-in. No job says any of it."""

import os
from collections.abc import Sequence
from pathlib import Path

from pydantic import Field, ValidationError

from server.track.sink import Target
from shared.errors import RunError
from shared.table import Table
from shared.toml_files import read_toml


class TrackTable(Table):
    """`[track]`: who is told of the runs that are simulated here."""

    to: list[str] = Field([], max_length=16, description="Trackers, as `tensorboard:~/tensorboard`.")


class UserSettings(Table):
    """A user's own settings."""

    track: TrackTable = TrackTable()


def settings_file() -> Path:
    """Return the file: below `$XDG_CONFIG_HOME`, or `~/.config`."""
    home = os.environ.get("XDG_CONFIG_HOME")
    return (Path(home) if home else Path.home() / ".config") / "wardround" / "settings.toml"


def targets_of(given: Sequence[str] | None) -> list[str]:
    """Return the trackers of a run, which were looked at: those given, or of the user's settings.

    Raises:
        RunError: One is none, or the settings can't be used.
    """
    targets = _usual() if given is None else list(given)
    for target in targets:
        Target.parse(target)
    return targets


def _usual() -> list[str]:
    file = settings_file()
    if not file.exists():
        return []
    try:
        return UserSettings.model_validate(read_toml(file, RunError)).track.to
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))
        raise RunError(f"{place}: {first['msg']}", where=file) from None
