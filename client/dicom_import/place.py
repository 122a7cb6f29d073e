"""The files of chosen series in the folders of a dataset: as links or copies, also out of archives."""

import shutil
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Literal

from client.dicom_import.archives import members
from client.dicom_import.burned_in import has_overlay_in_pixels, may_be_burned_in, seen_in
from client.dicom_import.clean_copies import Cleaner, part
from client.dicom_import.headers import text
from client.dicom_import.pseudonyms import Pseudonyms
from client.dicom_import.series import Series, SourceFile
from shared.errors import DataError

IMAGES = "images"
How = Literal["link", "copy", "deidentify"]
_PIECE = 2**20


@dataclass(frozen=True)
class Packed:
    """A file in an archive, and where it goes."""

    archive: str
    name: str
    size: int
    path: Path


@dataclass(frozen=True)
class Placing:
    """Where the files of a dataset go.

    Args:
        out: The dataset.
        names: The hospital's pseudonyms.
        how: Files are linked, copied as they are, or copied without what identifies.
        allow_burned_in: Copy also where text may stand in the pixels.
        clean: Copies files without what identifies.
    """

    out: Path
    names: Pseudonyms
    how: How = "link"
    allow_burned_in: bool = False
    clean: Cleaner | None = None

    def folder(self, series: Series) -> Path:
        """Return a series' folder, from the dataset's."""
        names = self.names
        return (
            Path(IMAGES)
            / names.patient(series.patient)
            / names.study(series.study)
            / names.series(series.uid)
        )

    def cell(self, series: Series) -> str:
        """Return what the manifest names: the folder, or the file of a series that is one file."""
        folder = self.folder(series)
        return str(folder / self.name(series.files[0]) if len(series.files) == 1 else folder)

    def name(self, file: SourceFile) -> str:
        """Return a file's name in the dataset."""
        return f"{self.names.image(text(file.header, 'SOPInstanceUID'))}.dcm"

    def place(self, series: Series) -> list[Packed]:
        """Put the files of a series where they belong, but for those in archives: these it returns.

        What is there already stays; what no longer belongs goes.

        Raises:
            DataError: A file is gone, has changed since it was looked at, or can't be written.
        """
        if self.how == "deidentify":
            self._require_clean(series)
        folder = self.out / self.folder(series)
        wanted = {self.name(file): file for file in series.files}
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            for path in list(folder.iterdir()):
                if path.name not in wanted:
                    path.unlink()
            missing = [
                (file, folder / name)
                for name, file in wanted.items()
                if not self._is_there(folder / name, file)
            ]
            packed = [
                Packed(file.archive, file.name, file.size, path) for file, path in missing if file.archive
            ]
            self._put([(file, path) for file, path in missing if not file.archive])
        except OSError as error:
            raise DataError(f"can't be written ({error.strerror})", where=folder) from None
        return packed

    def _require_clean(self, series: Series) -> None:
        """Refuse what can't be copied without what identifies: reasons, of which none names a file."""
        if any(file.archive for file in series.files):
            raise DataError("lies in an archive: unpack it to have de-identified copies")
        if self.allow_burned_in:
            return
        reason = may_be_burned_in([file.header for file in series.files])
        paths = [Path(file.name) for file in series.files]
        try:
            if not reason and any(map(has_overlay_in_pixels, paths)):
                reason = "an overlay"
            if not reason and series.is_image and seen_in(paths):
                reason = "text is seen"
        except DataError as error:
            raise DataError(f"holds an image that can't be looked at for text: {error.problem}") from None
        if reason:
            raise DataError(f"may have names burned into its pixels ({reason})")

    def _is_there(self, path: Path, file: SourceFile) -> bool:
        """Say whether a file is in its place; a link counts only where its target is there."""
        try:
            is_link = path.is_symlink()
            if is_link != (self.how == "link" and not file.archive):
                path.unlink(missing_ok=True)
                return False
            if is_link and path.readlink() != Path(file.name):
                path.unlink()
                return False
            found = path.stat()
        except FileNotFoundError:
            return False
        if is_link:
            return found.st_size == file.size
        source = file.archive or file.name
        is_latest = not Path(source).exists() or found.st_mtime_ns == self.names.version(source)
        return is_latest and (self.how == "deidentify" or found.st_size == file.size)

    def _put(self, missing: Sequence[tuple[SourceFile, Path]]) -> None:
        """Put files into their places."""
        for file, _ in missing:
            _require_unchanged(file)
        if self.clean is not None:
            self.clean([(file.name, str(path)) for file, path in missing])
            return
        for file, path in missing:
            if self.how == "link":
                path.symlink_to(file.name)
                continue
            with Path(file.name).open("rb") as opened:
                _write(opened, path, file.size, self.names.version(file.name))


def _require_unchanged(file: SourceFile) -> None:
    try:
        size = Path(file.name).stat().st_size
    except OSError:
        raise DataError("one of its files is no longer there") from None
    if size != file.size:
        raise DataError("one of its files has changed: import again")


def unpack(waiting: Sequence[Packed], names: Pseudonyms, done: Callable[[int], None]) -> None:
    """Write the files that lie in archives, each archive read once.

    Raises:
        DataError: An archive has changed or is gone, or a file can't be written.
    """
    by_archive: dict[str, dict[str, Packed]] = defaultdict(dict)
    for packed in waiting:
        by_archive[packed.archive][packed.name] = packed
    for archive, wanted in by_archive.items():
        version = names.version(archive)
        for name, size, opened in members(Path(archive)):
            if name in wanted and wanted[name].size == size:
                with opened() as member:
                    _write(member, wanted.pop(name).path, size, version)
                done(1)
        if wanted:
            raise DataError(
                f"no longer holds {len(wanted)} files that it held", where=archive, remedy="Import again."
            )


def _write(source: IO[bytes], path: Path, size: int, version: int) -> None:
    with part(path, version) as target:
        shutil.copyfileobj(source, target, _PIECE)
        if target.tell() != size:
            raise DataError("one of its files has changed: import again")
