"""Writing the page and the contact sheet of a checked dataset."""

import io
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from client.data.check.dataset_check import Report
from client.data.kinds import kinds_of
from client.data.look.cards import Card, card
from client.data.look.choice import Chosen, choose
from client.data.look.contact_sheet import contact_sheet
from client.data.look.page import Sheet, page
from client.data.new_folder import new_folder, put, require_new
from shared.errors import DataError
from shared.job.schema import JobSpec

PAGE, CONTACT = "look.html", "contact-sheet.png"
Track = Callable[[Sequence[Chosen]], Iterable[Chosen]]


@dataclass(frozen=True)
class Look:
    """How a dataset is looked at.

    Attributes:
        job: Prepares and augments; without one the images are shown as they are.
        most: Images a site, at most.
        seed: Of the choice and of the augmentation.
    """

    job: JobSpec | None
    most: int
    seed: int


def write_look(report: Report, look: Look, out: Path, track: Track = iter) -> None:
    """Write the page and the contact sheet into a new folder, for their owner's eyes only.

    The same report and seed give the same bytes. The folder appears when both files are complete.

    Args:
        report: What the check of the dataset found.
        look: What is shown.
        out: The folder; its parent must be there.
        track: Wraps the images, to show progress.

    Raises:
        DataError: No image can be shown, the folder exists or can't be written.
    """
    require_new(out)
    sheet = _sheet(report, look, track)
    _write(out, {PAGE: page(sheet).encode(), CONTACT: _picture(sheet)})


def contact_picture(report: Report, look: Look, track: Track = iter) -> bytes:
    """Return the contact sheet alone, as a PNG, which is written nowhere.

    Raises:
        DataError: No image can be shown.
    """
    return _picture(_sheet(report, look, track))


def _picture(sheet: Sheet) -> bytes:
    stream = io.BytesIO()
    contact_sheet(sheet).save(stream, "PNG")
    return stream.getvalue()


def _sheet(report: Report, look: Look, track: Track) -> Sheet:
    chosen = choose(report.found, look.most, look.seed)
    if not chosen:
        problem = report.errors[0] if report.errors else "it has no rows"
        raise DataError(
            f"has no image that can be shown; the first problem: {problem}", where=report.manifest
        )
    structures = _structures(report, look.job)
    sites: dict[str, list[Card]] = {site: [] for site in chosen}
    errors = [str(error) for error in report.errors]
    for one in track([one for own in chosen.values() for one in own]):
        record = one.row.record
        try:
            sites[record.site or "all"].append(card(one, look.job, structures, look.seed))
        except DataError as error:
            errors.append(f"row {record.row}: {error}")
    what = "what a network sees" if look.job else "as it is stored"
    return Sheet(
        title=f"{report.manifest.parent.resolve().name}: {what}",
        lines=_lines(report, look),
        errors=errors,
        warnings=report.warnings,
        structures=structures,
        sites=sites,
    )


def _structures(report: Report, job: JobSpec | None) -> list[str]:
    if job is not None:
        fields = [kind.field for kind in kinds_of(job).values() if kind.needs_image]
        return list(next((field.classes for field in fields if field.classes), ()))
    return [str(value) for value in sorted(int(name) for name in report.masks)]


def _lines(report: Report, look: Look) -> list[str]:
    what = (
        f"{report.images} images of {report.patients} patients. Up to {look.most} of each site are shown: "
        f"its extremes, and others drawn with seed {look.seed}."
    )
    if look.job is None:
        how = "Without a job: the images as they are stored, and the values of their masks."
    else:
        how = (
            f"Prepared for the job '{look.job.job.name}', and augmented as one training step might. Black "
            "and white are the 0.5th and 99.5th percentile of the prepared image, in both."
        )
    sides = (
        "R and L, A and P, S and I are the patient's right and left, front and back, head and feet, as the "
        "file says. Volumes are cut where most of the target is. Heights in histograms are square roots of "
        "counts."
    )
    return [what, how, sides]


def _write(out: Path, files: dict[str, bytes]) -> None:
    with new_folder(out) as folder:
        for name, content in files.items():
            put(folder / name, content)
