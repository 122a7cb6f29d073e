"""What an audit log counts, for Prometheus: each entry is read once, however often somebody asks."""

from collections import Counter
from pathlib import Path

from shared.audit.fields import EVENTS
from shared.audit.log import Entry, log_files, parse_entry


class AuditCount:
    """Counts of a log, up to date after each `update`.

    Args:
        folder: The log's.

    Attributes:
        events: Entries by event.
        bytes: Of all replies that were sent.
        rounds: Updates that were sent.
        spent: By dataset, the newest epsilon that it has lost; `left` likewise.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._forget()

    def update(self) -> None:
        """Read what was written since.

        Raises:
            OSError: A file can't be read.
        """
        sizes = {file.name: file.stat().st_size for file in log_files(self._folder)}
        if any(sizes.get(name, -1) < read for name, read in self._read.items()):
            self._forget()  # another log lies there now, or what a crash left of a line was removed
        for name in sizes:
            self._read_on(self._folder / name)

    def _forget(self) -> None:
        self._read: dict[str, int] = {}
        self.events = Counter(dict.fromkeys(EVENTS, 0))
        self.bytes, self.rounds = 0, 0
        self.spent: dict[str, float] = {}
        self.left: dict[str, float] = {}

    def _read_on(self, file: Path) -> None:
        with file.open("rb") as stream:
            stream.seek(self._read.get(file.name, 0))
            new = stream.read()
        whole = new[: new.rfind(b"\n") + 1]
        self._read[file.name] = self._read.get(file.name, 0) + len(whole)
        for line in whole.splitlines(keepends=True):
            try:
                self._count(parse_entry(line))
            except ValueError:  # `audit verify` says which
                continue

    def _count(self, entry: Entry) -> None:
        fields = entry.fields
        if entry.event in self.events:
            self.events[entry.event] += 1
        if entry.event == "reply-sent":
            self.bytes += int(fields.get("bytes", 0))
            self.rounds += fields.get("phase") == "train"
        if entry.event == "privacy-spent":
            name = str(fields["dataset"])
            if "epsilon" in fields:
                self.spent[name] = float(fields["epsilon"])
            if "left" in fields:
                self.left[name] = float(fields["left"])
