"""The folder of predictions into an archive: what was written as DICOM, a request for each image."""

from collections.abc import Callable, Iterable, Sequence
from itertools import groupby
from pathlib import Path

from client.pacs.archive_settings import PacsError
from client.pacs.stow import Store

DICOM = "dicom"
"""The folder, in that of predictions, of what an archive takes."""


def stored_results(
    folder: Path,
    store: Store,
    track: Callable[[Sequence[Sequence[Path]]], Iterable[Sequence[Path]]] = iter,
) -> int:
    """Send what lies in a folder of predictions; return how many objects the archive has taken.

    What is sent again is the same object, which an archive has once.

    Args:
        folder: Of predictions.
        store: The archive.
        track: Wraps the images, to show progress.

    Raises:
        PacsError: There is nothing to send, or the archive does not take an object; those before it are
            there.
    """
    files = sorted((folder / DICOM).glob("*.dcm"))
    if not files:
        raise PacsError(
            "has nothing that an archive takes",
            where=folder,
            remedy="Predict with --as dicom-seg, dicom-sr or dicom-sc.",
        )
    images = [list(own) for _, own in groupby(files, key=lambda file: file.stem.rpartition("-")[0])]
    sent = 0
    for own in track(images):
        try:
            store.send(own)
        except PacsError as error:
            told = f"{error.problem}; {sent} of {len(files)} objects of {folder} were stored before"
            remedy = f"Then go on with: wardround store {folder} URL"
            raise PacsError(
                told, where=error.where, remedy=" ".join(filter(None, (error.remedy, remedy)))
            ) from None
        sent += len(own)
    return sent
