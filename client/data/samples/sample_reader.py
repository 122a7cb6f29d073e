"""From the rows of a manifest to samples: in memory where they fit, else read from the disk as needed."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from client.data.cache.cache import DiskCache, MappedValue
from client.data.cache.prepared import Prepared
from client.data.cache.preparing import Entry, Preparation
from client.data.cache.preprocess import prepare
from client.data.cache.settings import CacheTable
from client.data.kinds import Kind
from client.data.kinds.row_images import NOTHING, ImageFilter, Scene, read_scene
from client.data.manifest.rows import Manifest, Record
from client.data.motion.steps import Value, whole
from client.data.samples.batches import Column, Samples
from shared.errors import DataError
from shared.job.schema import JobSpec

_GIB = 2**30


@dataclass(frozen=True)
class _Ready:
    """A sample's fields that come from files."""

    key: str
    spacing: tuple[float, ...] | None
    values: Mapping[str, Value]


class Reader:
    """Reads rows for one job.

    Args:
        manifest: Of the rows, for errors.
        job: What the samples are for.
        kinds: Of the fields that the manifest has.
        source: The field whose content tells samples apart.
        cache: Where prepared samples are kept, and how many of them.
        image_filter: Changes each image as it is read.
    """

    def __init__(
        self,
        manifest: Manifest,
        job: JobSpec,
        kinds: Mapping[str, Kind],
        *,
        source: str,
        cache: CacheTable,
        image_filter: ImageFilter | None,
    ) -> None:
        self._manifest = manifest
        self._job = job
        self._kinds = kinds
        self._source = source
        self._cache = cache
        self._filter = image_filter
        self._held, self._most = 0, cache.memory_bytes  # bytes in memory
        self._preparation = None
        if cache.folder is not None and not all(kind.in_manifest for kind in kinds.values()):
            disk = DiskCache(cache.folder)
            self._preparation = Preparation(job, kinds, source, disk, image_filter)

    def cell(self, record: Record, name: str) -> Tensor:
        """Return a value that stands in the manifest itself.

        Raises:
            DataError: It is not what it should be; names the row.
        """
        with self._manifest.reading(record):
            return torch.from_numpy(np.asarray(self._kinds[name].read(record, NOTHING)))

    def scene(self, record: Record) -> Scene:
        """Return the images of a row as their files hold them, as the filter leaves them.

        Raises:
            DataError: One can't be read; names the row.
        """
        with self._manifest.reading(record):
            return read_scene(record, self._kinds, self._job.data, self._filter)

    def read(self, records: Sequence[Record]) -> Samples:
        """Return the samples of rows.

        Raises:
            DataError: A file can't be used (names the row), or there is no room for them.
        """
        ready = self._fresh(records) if self._preparation is None else self._kept(self._preparation, records)
        columns: dict[str, Column] = {}
        for name, kind in self._kinds.items():
            if kind.in_manifest:
                columns[name] = _pooled([self.cell(record, name) for record in records], kind)
            else:
                columns[name] = _pooled([one.values[name] for one in ready], kind)
        return Samples(
            self._job,
            columns,
            patients=[record.patient for record in records],
            keys=[one.key for one in ready],
            spacings=[one.spacing for one in ready],
            kinds=self._kinds,
        )

    def _fresh(self, records: Sequence[Record]) -> list[_Ready]:
        """Prepare rows into memory."""
        found = []
        for record in records:
            with self._manifest.reading(record):
                sample = prepare(record, self._kinds, self._job.data, self._filter)
                found.append(_in_memory(self._kinds[self._source].source(record), sample))
            if not self._take(sum(value.nbytes for value in sample.values.values())):
                raise DataError(
                    f"its prepared samples need more memory than {self._most / _GIB:.3g} GiB",
                    where=self._manifest.path,
                    remedy='Name a folder for them in site.toml: [cache] folder = "/data/cache".',
                )
        return found

    def _kept(self, preparation: Preparation, records: Sequence[Record]) -> list[_Ready]:
        """Prepare rows onto the disk, and take them into memory if they fit."""
        entries = preparation.all(records, self._manifest, self._cache.workers)
        size = sum(entry.kept.size for entry in entries)
        if size > self._cache.disk_bytes:
            raise DataError(
                f"its prepared samples are {size / _GIB:.3g} GiB, and [cache] disk_gib = "
                f"{self._cache.disk_gib:g}",
                where=self._manifest.path,
                remedy="Raise it in site.toml.",
            )
        preparation.cache.clear(self._cache.days, self._cache.disk_bytes)
        load = self._loaded if self._take(size) else self._mapped
        return [load(preparation, record, entry) for record, entry in zip(records, entries, strict=True)]

    def _take(self, size: int) -> bool:
        """Count bytes in, if there is room for them in memory."""
        fits = self._held + size <= self._most
        self._held += size if fits else 0
        return fits

    def _loaded(self, preparation: Preparation, record: Record, entry: Entry) -> _Ready:
        sample = preparation.cache.get(entry.kept.key)
        if sample is None:  # cleared by another process a moment ago
            with self._manifest.reading(record):
                sample = preparation.prepare(record)
        return _in_memory(entry.key, sample)

    def _mapped(self, preparation: Preparation, record: Record, entry: Entry) -> _Ready:
        def again() -> None:
            with self._manifest.reading(record):
                if preparation.entry(record) != entry:
                    raise DataError("its files have changed since the job began")

        values: dict[str, Value] = {
            name: preparation.cache.value(entry.kept, name, again) for name in entry.kept.shapes
        }
        return _Ready(entry.key, entry.kept.spacing, values)


def _in_memory(key: str, sample: Prepared) -> _Ready:
    values: dict[str, Value] = {name: torch.from_numpy(value) for name, value in sample.values.items()}
    return _Ready(key, sample.spacing, values)


def _pooled(values: Sequence[Value], kind: Kind) -> Column:
    """Return one tensor where the kind stacks and all have one shape in memory, else the list."""
    tensors = [value for value in values if not isinstance(value, MappedValue)]
    if kind.stacks and len(tensors) == len(values) and len({tuple(value.shape) for value in values}) == 1:
        return torch.stack([whole(tensor) for tensor in tensors])
    return values
