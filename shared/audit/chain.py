"""The end of an audit log: whether an entry is in it, and everything since follows from that entry."""

import os
from collections.abc import Iterator
from pathlib import Path

from shared.audit.log import Entry, log_files, parse_entry

_BLOCK = 2**16  # bytes read from the end of a file at first


def grew(folder: Path, before: str, head: str) -> bool:
    """Say whether a log has the entry of one head, and an unbroken chain of hashes from it to another head.

    Args:
        folder: Of the log.
        before: Number and hash of the earlier entry.
        head: Number and hash of the later one, or the same.
    """
    first, last = (int(text.partition(":")[0]) for text in (before, head))
    following: Entry | None = None
    for entry in _backwards(folder):
        if entry.seq > last:
            continue
        if following is None:
            if entry.head != head:
                return False
        elif (entry.seq, entry.hash) != (following.seq - 1, following.previous):
            return False
        if entry.content_hash() != entry.hash:
            return False
        if entry.seq == first:
            return entry.head == before
        following = entry
    return following is not None and _follows(following, before)


def holds(folder: Path, head: str) -> bool:
    """Say whether a log has the entry that a head names."""
    first, oldest = int(head.partition(":")[0]), None
    for oldest in _backwards(folder):
        if oldest.seq <= first:
            return oldest.head == head and oldest.content_hash() == oldest.hash
    return oldest is not None and _follows(oldest, head)


def _follows(entry: Entry, head: str) -> bool:
    """Say whether an entry follows the one of a head, which may be in a file that was moved to an archive."""
    return f"{entry.seq - 1}:{entry.previous}" == head


def _backwards(folder: Path) -> Iterator[Entry]:
    """Yield the entries of a log, the newest first, up to one that can't be read."""
    for path in reversed(log_files(folder)):
        for line in _lines_backwards(path):
            try:
                yield parse_entry(line)
            except ValueError:
                return


def _lines_backwards(path: Path) -> Iterator[bytes]:
    """Yield the whole lines of a file, the last first, without reading more of it than is asked for."""
    with path.open("rb") as file:
        end, rest, torn = file.seek(0, os.SEEK_END), b"", True
        while end:
            start = max(0, end - _BLOCK)
            file.seek(start)
            lines = (file.read(end - start) + rest).split(b"\n")
            if torn and len(lines) > 1:  # behind the last line break: nothing, or what a crash left of a line
                lines.pop()
                torn = False
            rest, end = lines[0], start
            for line in reversed(lines[1:]):
                yield line + b"\n"
        if rest and not torn:
            yield rest + b"\n"
