"""`[pull]` and `[dimse]` of `pacs.toml`: where studies are taken from, how fast, and when."""

import time
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import ClassVar, Self

from pydantic import Field, ValidationError, field_validator, model_validator

from client.pacs.archive_settings import ArchiveTable, PacsError, archive
from shared.table import Positive, Table
from shared.toml_files import read_toml

_DAY = 24 * 60
_TITLE = r"^[ -~]{1,16}$"


class Limits(Table):
    """How an archive is spared.

    Attributes:
        megabytes_per_second: At most, on average.
        hours: When it may be asked, by the clock of this machine: `19:00-06:00`.
        minutes: For one series; what takes longer is given up.
    """

    megabytes_per_second: Positive | None = None
    hours: str | None = Field(None, pattern=r"^([01]\d|2[0-3]):[0-5]\d-([01]\d|2[0-3]):[0-5]\d$")
    minutes: Positive = 30.0

    @field_validator("hours")
    @classmethod
    def _is_some_time(cls, hours: str | None) -> str | None:
        if hours is not None and hours[:5] == hours[6:]:
            raise ValueError("begins when it ends: leave it out for all day")
        return hours

    def wait(self, now: datetime) -> float:
        """Return the seconds from a moment until the archive may be asked; 0 within its hours."""
        if self.hours is None:
            return 0.0
        begin, end = (int(text[:2]) * 60 + int(text[3:]) for text in self.hours.split("-"))
        minute = now.hour * 60 + now.minute
        if (minute - begin) % _DAY < (end - begin) % _DAY:
            return 0.0
        opens = now.replace(second=0, microsecond=0) + timedelta(minutes=(begin - minute) % _DAY)
        return (opens - now).total_seconds()


class PullTable(ArchiveTable, Limits):
    """`[pull]`: the archive's DICOMweb service (QIDO-RS, WADO-RS), as in `[store]`."""

    name: ClassVar[str] = "pull"
    option: ClassVar[str] = "from"
    page: ClassVar[str] = "docs/pacs.md"


class DimseTable(Limits):
    """`[dimse]`: an archive that speaks DIMSE (C-FIND, and C-GET or C-MOVE).

    Attributes:
        host: Of the archive.
        called: Its title (AE).
        calling: Ours, which the archive must know.
        tls: Leave it on; without it whoever is in the network can read along.
        authority: Certificates by which the server's is checked, PEM; the machine's own where it is missing.
        certificate: Ours, PEM, with its key: where the archive wants one, and for C-MOVE with TLS.
        receive_port: For C-MOVE, on this machine: where the archive sends to; C-GET without it.
        receive_address: Of this machine, for that; the one in the archive's network where it is missing.
    """

    host: str = Field(max_length=253)
    port: int = Field(ge=1, le=65535)
    called: str = Field(pattern=_TITLE)
    calling: str = Field("WARDROUND", pattern=_TITLE)
    tls: bool = True
    authority: Path | None = Field(None, strict=False)
    certificate: Path | None = Field(None, strict=False)
    receive_port: int | None = Field(None, ge=1, le=65535)
    receive_address: str | None = Field(None, max_length=253)

    @model_validator(mode="after")
    def _can_be_sent_to(self) -> Self:
        if self.receive_address is not None and self.receive_port is None:
            raise ValueError("receive_address: needs receive_port")
        if self.receive_port is not None and self.tls and not (self.certificate and self.authority):
            raise ValueError(
                "receive_port: over TLS it needs certificate (ours) and authority (the archive's)"
            )
        return self


def read_source(named: str) -> PullTable | DimseTable:
    """Return the archive that a URL or a file with `[pull]` or `[dimse]` names.

    Raises:
        PacsError: It is none.
    """
    path = Path(named)
    table = None if "://" in named else read_toml(path, PacsError).get("dimse")
    if not isinstance(table, dict):
        return archive(named, PullTable)
    for name in ("authority", "certificate"):
        if isinstance(table.get(name), str):
            table[name] = path.parent / table[name]
    try:
        return DimseTable.model_validate(table, strict=True)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        text = str(first["msg"]).removeprefix("Value error, ")
        raise PacsError(f"[dimse] {key}: {text}" if key else f"[dimse] {text}", where=path) from None


class Pace:
    """Holds up what comes faster than it may.

    Args:
        bytes_per_second: At most, on average from the first piece on; None holds up nothing.
        clock: Seconds, from anywhere on.
        sleep: Waits so many seconds.
    """

    def __init__(
        self,
        bytes_per_second: float | None,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._rate, self._clock, self._sleep = bytes_per_second, clock, sleep
        self._free = clock()

    def __call__(self, count: int) -> None:
        """Take note of bytes that came, and wait until they may have come."""
        if self._rate is None:
            return
        now = self._clock()
        self._free = max(self._free, now) + count / self._rate
        if self._free > now:
            self._sleep(self._free - now)
