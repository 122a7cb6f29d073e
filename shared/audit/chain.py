"""The end of an audit log: whether an entry is in it, and everything since follows from that entry."""

from collections.abc import Iterator
from pathlib import Path

from shared.audit.log import Entry, parse_entry
from shared.audit.newest_first import lines_newest_first


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
    for line in lines_newest_first(folder):
        try:
            yield parse_entry(line)
        except ValueError:
            return
