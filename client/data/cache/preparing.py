"""All samples of a job prepared and put on the disk, by several processes where that is worth their start.

What lies there already is taken: a preparation that was killed goes on with the next sample.
"""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from client.data.cache.cache import DiskCache, Kept
from client.data.cache.prepared import Prepared
from client.data.cache.preprocess import preparation_digest, prepare
from client.data.cache.progress import shown
from client.data.kinds import Kind
from client.data.kinds.row_images import ImageFilter
from client.data.line_processes import LineProcesses
from client.data.manifest.rows import Manifest, Record
from shared.job.schema import JobSpec

PROCESS = "client.data.cache.prepare_process"
_WORTH_IT = 2**27  # bytes of files: a process takes some seconds to begin


@dataclass(frozen=True)
class Entry:
    """A sample that is ready.

    Attributes:
        key: Text that differs for samples of other content; see `Samples`.
        kept: Where it lies.
    """

    key: str
    kept: Kept


class Preparation:
    """How the rows of a manifest become samples on the disk.

    Args:
        job: What the samples are for.
        kinds: Of their fields.
        source: The field whose content tells samples apart.
        cache: Where they are kept.
        image_filter: Changes each image as it is read.
    """

    def __init__(
        self,
        job: JobSpec,
        kinds: Mapping[str, Kind],
        source: str,
        cache: DiskCache,
        image_filter: ImageFilter | None = None,
    ) -> None:
        self.job = job
        self.kinds = kinds
        self.source = source
        self.cache = cache
        self.filter = image_filter
        self._digest = preparation_digest(kinds, job.data, image_filter)

    def entry(self, record: Record) -> Entry:
        """Return a row's sample, which lies on the disk when this returns.

        Raises:
            DataError: A file of it can't be used, or the disk is full.
        """
        sources = {
            name: kind.source(record)
            for name, kind in self.kinds.items()
            if not kind.in_manifest or name == self.source
        }
        parts = [sources[name] for name, kind in self.kinds.items() if not kind.in_manifest]
        name = hashlib.sha256("\n".join((self._digest, *parts)).encode()).hexdigest()
        kept = self.cache.look(name)
        return Entry(sources[self.source], kept or self.cache.put(name, self.prepare(record)))

    def prepare(self, record: Record) -> Prepared:
        """Return a row's sample, read from its own files.

        Raises:
            DataError: A file of it can't be used.
        """
        return prepare(record, self.kinds, self.job.data, self.filter)

    def all(self, records: Sequence[Record], manifest: Manifest, processes: int) -> list[Entry]:
        """Return the samples of rows, in their order.

        Args:
            records: The rows.
            manifest: Theirs, for errors.
            processes: How many prepare, where the files are large.

        Raises:
            DataError: The first row of which a file can't be used.
        """
        several = processes > 1 and self.filter is None and _size(records, self.kinds) >= _WORTH_IT
        if not several:
            with shown(len(records)) as done:
                return [self._named(record, manifest, self.entry, done) for record in records]
        with self._processes() as pool, shown(len(records)) as done:
            threads = ThreadPoolExecutor(min(processes, len(records)))

            def elsewhere(record: Record) -> Entry:
                return read_entry(pool.ask(_told(record)))

            asked = [threads.submit(self._named, record, manifest, elsewhere, done) for record in records]
            try:
                return [answer.result() for answer in asked]
            finally:
                threads.shutdown(cancel_futures=True)

    def _processes(self) -> LineProcesses:
        first = {
            "job": self.job.canonical(),
            "fields": list(self.kinds),
            "source": self.source,
            "folder": str(self.cache.folder.resolve()),
        }
        return LineProcesses(PROCESS, first, "Was there too little memory? [cache] processes")

    def _named(
        self,
        record: Record,
        manifest: Manifest,
        entry: Callable[[Record], Entry],
        done: Callable[[], None],
    ) -> Entry:
        with manifest.reading(record):
            found = entry(record)
        done()
        return found


def _size(records: Sequence[Record], kinds: Mapping[str, Kind]) -> int:
    """Return how many bytes the files of rows have; of a folder, those in it."""
    files = [file for record in records for kind in kinds.values() for file in kind.files(record)]
    inside = [part for file in files for part in (file.iterdir() if file.is_dir() else (file,))]
    return sum(part.stat().st_size for part in inside)


def _told(record: Record) -> dict[str, Any]:
    return {
        "row": record.row,
        "patient": record.patient,
        "images": [str(path.absolute()) for path in record.images],
        "cells": record.cells,
        "folder": str(record.folder.absolute()),
    }


def read_record(told: Mapping[str, Any]) -> Record:
    """Return a row that another process told of."""
    images, folder = tuple(map(Path, told["images"])), Path(told["folder"])
    return Record(told["row"], told["patient"], images, cells=told["cells"], folder=folder)


def told_entry(entry: Entry) -> dict[str, Any]:
    """Return an entry as another process can be told of it."""
    return asdict(entry)


def read_entry(told: Mapping[str, Any]) -> Entry:
    """Return an entry that another process told of."""
    kept = told["kept"]
    shapes = {name: tuple(shape) for name, shape in kept["shapes"].items()}
    spacing = None if kept["spacing"] is None else tuple(kept["spacing"])
    return Entry(told["key"], replace(Kept(**kept), shapes=shapes, spacing=spacing))
