"""What was said of one image in the formats that were asked for beside tables, NIfTI and PNG."""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Self

from client.predict.dicom.capture import capture
from client.predict.dicom.codes import Coded, codes_of
from client.predict.dicom.grid import FileGrid
from client.predict.dicom.maker import Maker
from client.predict.dicom.part10 import content
from client.predict.dicom.report import Reporter
from client.predict.dicom.segmentation import segmentation
from client.predict.dicom.source import Source, dicom_source, is_dicom_image
from client.predict.fhir import FhirReport, Subject
from client.predict.formats import DICOM, Format
from client.predict.geometry import Placed
from client.predict.said import Found, Numbers, boxes_of, numbers_of, sizes_of
from shared.errors import DataError, RunError
from shared.finished_run import FinishedRun, Which
from shared.tasks.answers import Cell
from shared.tasks.fields import fields_of


@dataclass(frozen=True)
class Further:
    """Writes it.

    Attributes:
        formats: That were asked for.
        maker: The model.
        structures: Names of the classes of masks, in the order of their indices.
        codes: What each class is that the model tells apart, by its name, likewise.
    """

    formats: Collection[Format]
    maker: Maker
    structures: tuple[str, ...]
    codes: Mapping[str, Coded]

    @classmethod
    def of_run(cls, run: FinishedRun, which: Which, formats: Collection[Format]) -> Self:
        """Return what writes the answers of a run's model.

        Raises:
            RunError: The model says nothing that a format could hold.
        """
        targets = [own for own in fields_of(run.job).values() if own.role == "target" and not own.region]
        structures = next((own.classes for own in targets if own.kind in ("mask", "instances")), ())
        if "dicom-seg" in formats and not structures:
            raise RunError(
                f"draws no masks (its task is {run.job.task.name}), which a segmentation would hold",
                where=run.path,
                remedy="Leave out --as dicom-seg.",
            )
        classes = next((own.classes for own in targets if own.classes), ())
        return cls(formats, Maker.of(run, which), structures, codes_of(classes, run.job.task.codes))

    def files(
        self, patient: str, placed: Placed | None, cells: Mapping[str, Cell], overlay: bytes | None
    ) -> Iterator[tuple[Format, bytes]]:
        """Yield the content of a file for each format.

        Args:
            patient: Whose row it is.
            placed: What was said of the image, on it.
            cells: Of its row in the table.
            overlay: The picture (PNG).

        Raises:
            DataError: The image is not DICOM, or nothing was said that the format could hold.
        """
        if "fhir" in self.formats:  # first: it needs no image
            report = FhirReport(_subject(patient, placed), self.maker, self.codes)
            yield "fhir", report.bundle(sizes_of(cells), *self._found(placed, cells))
        if DICOM & set(self.formats):
            if placed is None:
                raise DataError("has no image, and DICOM's results refer to one")
            yield from self._dicom(placed, dicom_source(placed.file), cells, overlay)

    def _found(self, placed: Placed | None, cells: Mapping[str, Cell]) -> tuple[list[Found], Numbers]:
        """Return boxes and numbers; where boxes are looked for, how many there are: none is an answer."""
        numbers = numbers_of(cells, self.codes)
        if placed is None or placed.boxes is None:
            return [], numbers
        boxes = boxes_of(placed, list(self.codes))
        return boxes, replace(numbers, values={**numbers.values, "boxes": float(len(boxes))})

    def _dicom(
        self, placed: Placed, source: Source, cells: Mapping[str, Cell], overlay: bytes | None
    ) -> Iterator[tuple[Format, bytes]]:
        grid, drawn = FileGrid.of(placed.picture, source), None
        if "dicom-seg" in self.formats:
            if placed.mask is None:
                raise DataError("has no mask that a segmentation could hold", where=placed.file)
            structures = {name: self.codes[name] for name in self.structures}
            drawn = segmentation(placed.mask, grid, structures, self.maker)
            yield "dicom-seg", content(drawn)
        if "dicom-sr" in self.formats:
            reporter = Reporter(grid, self.maker, self.codes, drawn)
            yield "dicom-sr", content(reporter.report(sizes_of(cells), *self._found(placed, cells)))
        if "dicom-sc" in self.formats and overlay is not None:
            yield "dicom-sc", content(capture(overlay, source, self.maker))


def _subject(patient: str, placed: Placed | None) -> Subject:
    """Return whose image it is: by its DICOM file, or by the row."""
    if placed is None or not is_dicom_image(placed.file):
        return Subject(patient)
    header = dicom_source(placed.file).first
    return Subject(str(header.PatientID or patient), str(header.StudyInstanceUID))
