"""Writing the manifest of a folder that has none."""

import csv
import io
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from client.data.manifest.conventions import patients, read_folder
from client.data.manifest.folder_content import Folder
from shared.errors import DataError
from shared.files import write_new

_FEW = 10  # patients, of whom hardly any are left to test


@dataclass(frozen=True)
class Written:
    """A manifest that was written.

    Attributes:
        example: A file and the patient that was found in its name.
        lines: What a job's [data] says about these data.
    """

    path: Path
    kind: str
    rows: int
    patients: int
    example: tuple[str, str]
    lines: list[str]

    def doubts(self) -> Iterator[str]:
        """Yield what to do where a kind of images may have been taken for a person."""
        if self.patients < min(_FEW, self.rows):
            yield (
                f"So few patients leave hardly any to test. If '{self.example[1]}' is a kind of images, and "
                "each image is of another person: --patient '([^/]+)[.]'"
            )


def write_manifest(folder: Path, pattern: str | None, masks: str | None = None) -> Written:
    """Write FOLDER/manifest.csv, readable by its owner alone.

    Args:
        folder: Follows a convention of `client.data.manifest.conventions`.
        pattern: Finds the patient in an image's path; None takes the convention's rule.
        masks: BIDS: what the paths of the masks have in common, where there are several kinds.

    Raises:
        DataError: There is a manifest already, the folder follows no convention, or can't be written.
    """
    path = folder / "manifest.csv"
    if path.exists() or path.is_symlink():
        raise _there_already(path)
    found = read_folder(folder, masks)
    whose = patients(found, pattern)
    stream = io.StringIO(newline="")
    writer = csv.DictWriter(stream, ["patient", *found.rows[0]], lineterminator="\n")
    writer.writeheader()
    writer.writerows({"patient": patient, **row} for patient, row in zip(whose, found.rows, strict=True))
    _write_new(path, stream.getvalue().encode())
    example = found.rows[0][found.columns[0]], whose[0]
    return Written(path, found.kind, len(found.rows), len(set(whose)), example, _lines(found))


def _write_new(path: Path, content: bytes) -> None:
    """Write a file (0600) that is not there yet, whole or not at all."""
    try:
        write_new(path, content)
    except FileExistsError:
        raise _there_already(path) from None
    except OSError as error:
        raise DataError(f"can't be written ({error.strerror})", where=path) from None


def _there_already(path: Path) -> DataError:
    return DataError("is there already, and nothing is overwritten", where=path, remedy="Move it away first.")


def _lines(found: Folder) -> list[str]:
    lines = []
    if found.columns != ("image",):
        lines.append(f"images = {json.dumps(list(found.columns))}")
        lines.append(f"channels = {len(found.columns)}")
    if found.classes:
        names = list(dict.fromkeys(found.classes.values()))
        lines.append(f"classes = {json.dumps(names, ensure_ascii=False)}")
    if "mask" in found.rows[0] and list(found.classes) != list(range(1, 1 + len(found.classes))):
        pairs = (
            f"{json.dumps(str(value))} = {json.dumps(name, ensure_ascii=False)}"
            for value, name in found.classes.items()
        )
        lines.append(f"labels = {{ {', '.join(pairs)} }}")
    return lines
