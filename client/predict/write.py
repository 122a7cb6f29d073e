"""The folder of predictions: a table, masks, images, overlays and a page, for their owner's eyes only."""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from client.data.kinds import Kind, first_of_kind, given_kinds_of
from client.data.kinds.measured import MeasuredKind
from client.data.look.cards import Card
from client.data.look.page import Sheet, page
from client.data.look.tiles import Tile
from client.data.manifest.rows import Manifest, Record
from client.data.new_folder import new_folder, put
from client.predict.answering import Predictor, Said
from client.predict.attention import Attended, attended
from client.predict.csv_table import csv_table, json_table
from client.predict.displacements import field_file
from client.predict.drawing import OVERLAY_SIDE, Picture, card, side_by_side
from client.predict.formats import DICOM, FORMATS
from client.predict.formats import TABLE as JSON
from client.predict.further import Further
from client.predict.geometry import Placed, mask_file, place, sizes, written_corners
from client.predict.images import image_file
from client.predict.reasons import LEGEND, reasons_on
from shared.errors import DataError
from shared.tasks.answers import Cell
from shared.text.plural import many
from shared.text.printable import printable

TABLE, BOXES, ATTENTION, PAGE = "predictions.csv", "boxes.csv", "attention.csv", "index.html"
ROWS = "predictions.json"
MASKS, OVERLAYS, REASONS, DISPLACEMENTS = "masks", "overlays", "reasons", "displacements"
_CARDS = 200  # on the page: each is some 30 KB of it
_ODD = re.compile(r"[^A-Za-z0-9._-]+")
_LEGEND = (
    "Outlines in colour are predicted, dotted ones are true. Volumes are cut where most of both is; R and L, "
    "A and P, S and I are the patient's right and left, front and back, head and feet."
)
_CORNERS = ("x0", "y0", "x1", "y1", "z0", "z1")


@dataclass
class Counts:
    """How many rows were predicted, and what is wrong with the others."""

    predicted: int = 0
    problems: list[DataError] = field(default_factory=list)


class Writer:
    """Takes what was said of each row, and writes it."""

    def __init__(self, folder: Path, predictor: Predictor, further: Further | None = None) -> None:
        self._folder = folder
        self._job = predictor.job
        self._further = further
        kinds = given_kinds_of(predictor.job)
        image = first_of_kind(kinds, "image")
        measured = (kind.columns[0] for kind in kinds.values() if isinstance(kind, MeasuredKind))
        self._named = predictor.job.data.images[0] if image else next(measured, "")  # column of a row's file
        self._classes = {kind: _classes(kinds, kind) for kind in ("mask", "instances", "boxes")}
        self._rows: list[dict[str, Cell]] = []
        self._boxes: list[dict[str, Cell]] = []
        self._attention: list[dict[str, Cell]] = []
        self._made: dict[str, None] = {}  # what images are made, in order
        self._reasons: dict[str, None] = {}  # columns of their files, in order
        self.cards: list[Card] = []
        self.counts = Counts()

    @property
    def has_outlines(self) -> bool:
        """Whether there are masks or boxes to see."""
        return any(self._classes.values())

    @property
    def has_reasons(self) -> bool:
        """Whether there are maps of reasons to see."""
        return bool(self._reasons)

    def take(self, said: Said) -> None:
        """Write what belongs to a row."""
        record, image = said.record, self._name(said.record)
        row: dict[str, Cell] = {"row": record.row, "patient": record.patient, "image": image}
        problem = said.problem
        if said.answer is not None:
            try:
                placed = place(record, said.kinds, self._job.data, said.answer)
                row |= self._files(record, said, placed)
            except DataError as error:
                problem = error
        if problem is None:
            self.counts.predicted += 1
        else:
            row["problem"] = printable(problem.problem)
            self.counts.problems.append(problem)
        self._rows.append(row)

    def _files(self, record: Record, said: Said, placed: Placed | None) -> dict[str, Cell]:
        assert said.answer is not None  # noqa: S101 (its caller looked)
        cells: dict[str, Cell] = dict(said.answer.cells)
        name, files = f"{record.row:04d}-{_plain(self._name(record) or record.patient)}", {}
        shown: list[Tile] = []
        overlay: bytes | None = None
        if placed is not None:
            if placed.mask is not None:
                if self._classes["mask"]:
                    cells |= sizes(placed, self._classes["mask"])
                ending, content = mask_file(placed)
                files["mask"] = self._put(MASKS, name + ending, content)
            if placed.boxes is not None:
                self._boxes += self._box_rows(record, placed)
            files |= self._images(name, placed)
            picture = Picture(placed)
            shown, overlay = picture.tiles(), picture.overlay()
            files["overlay"] = self._put(OVERLAYS, f"{name}.png", overlay)
            for reason in reasons_on(placed, self._job.data, said.answer):
                shown += reason.tiles()
                ending, content = reason.file()
                self._reasons |= {reason.method: None, f"overlay/{reason.method}": None}
                files[reason.method] = self._put(REASONS, f"{name}-{reason.method}{ending}", content)
                files[f"overlay/{reason.method}"] = self._put(
                    OVERLAYS, f"{name}-{reason.method}.png", side_by_side(reason.tiles(OVERLAY_SIDE))
                )
        files |= self._other_formats(name, record.patient, placed, cells, overlay)
        if (looked_at := _looked_at(said)) is not None:
            shown += looked_at.tiles
            self._attention += looked_at.rows
            if looked_at.maps is not None:
                files["overlay"] = self._put(OVERLAYS, f"{name}.png", looked_at.maps)
        if len(self.cards) < _CARDS:
            title = f"Row {record.row}: {self._name(record) or record.patient}"
            self.cards.append(card(title, cells, said.answer, shown))
        return cells | files

    def _other_formats(
        self,
        name: str,
        patient: str,
        placed: Placed | None,
        cells: Mapping[str, Cell],
        overlay: bytes | None,
    ) -> dict[str, str]:
        files: dict[str, str] = {}
        if self._further is None:
            return files
        for form, content in self._further.files(patient, placed, cells, overlay):
            kind = form.removeprefix("dicom-")
            folder, ending = ("dicom", f"-{kind}.dcm") if form in DICOM else (form, ".json")
            files[form] = self._put(folder, name + ending, content)
        return files

    def _images(self, name: str, placed: Placed) -> dict[str, str]:
        """Write the images that were made of one, and how far its pixels lie from another."""
        files = {}
        for what, made in placed.images.items():
            ending, content = image_file(made, placed.picture, placed.file)
            files[what] = self._put(what, name + ending, content)
            self._made[what] = None
        if placed.displacement is not None:
            content = field_file(placed.displacement, placed.picture)
            files["displacement"] = self._put(DISPLACEMENTS, f"{name}.nii.gz", content)
        return files

    def _box_rows(self, record: Record, placed: Placed) -> Iterator[dict[str, Cell]]:
        assert placed.boxes is not None and placed.scores is not None  # noqa: S101, PT018 (its caller looked)
        for corners, box, score in zip(written_corners(placed), placed.boxes, placed.scores, strict=True):
            named = zip(_CORNERS, corners.tolist(), strict=False)
            label = self._classes["boxes"][int(box[-1])]
            yield {
                "row": record.row,
                "image": self._name(record),
                **dict(named),
                "class": label,
                "score": float(score),
            }

    def _put(self, folder: str, name: str, content: bytes) -> str:
        (self._folder / folder).mkdir(mode=0o700, exist_ok=True)
        put(self._folder / folder / name, content)
        return f"{folder}/{name}"

    def _name(self, record: Record) -> str:
        return record.cells.get(self._named, "")

    def finish(self, title: str, lines: Sequence[str]) -> None:
        """Write the tables and the page."""
        put(
            self._folder / TABLE,
            csv_table(
                self._rows,
                last=("mask", *self._made, "displacement", *self._reasons, "overlay", *FORMATS, "problem"),
            ),
        )
        if self._classes["boxes"]:
            put(
                self._folder / BOXES,
                csv_table(
                    self._boxes,
                    first=("row", "image", *_CORNERS[: 2 * self._job.data.dimensions], "class", "score"),
                ),
            )
        if self._further is not None and JSON in self._further.formats:
            put(self._folder / ROWS, json_table(self._rows))
        if self._attention:
            put(self._folder / ATTENTION, csv_table(self._attention))
        errors = [str(problem).splitlines()[0] for problem in self.counts.problems]
        structures = next(filter(None, self._classes.values()), ())
        sheet = Sheet(title, list(lines), errors, [], structures, {"Images": self.cards})
        put(self._folder / PAGE, page(sheet).encode())


def _looked_at(said: Said) -> Attended | None:
    if said.answer is None or said.answer.attention is None:
        return None
    return attended(said.record, said.kinds, said.answer.attention.numpy())


def write_predictions(
    predictor: Predictor,
    manifest: Manifest,
    out: Path,
    lines: Sequence[str],
    *,
    track: Callable[[Iterable[Said], int], Iterable[Said]] = lambda said, _: said,
    further: Further | None = None,
) -> Counts:
    """Write what a model says of the rows of a manifest into a new folder.

    Args:
        predictor: The model.
        manifest: The rows.
        out: The folder.
        lines: What the page says of the model.
        track: See `client.predict.run_model.predict_with`.
        further: What writes it in further formats.

    Raises:
        DataError: The folder exists or can't be written, or no row could be used.
    """
    kinds = given_kinds_of(predictor.job)
    with new_folder(out) as folder:
        writer = Writer(folder, predictor, further)
        writer.counts.problems += manifest.problems
        for said in track(predictor.answers(manifest, kinds), len(manifest.records)):
            writer.take(said)
        if not writer.counts.predicted:
            raise _nothing(writer.counts, manifest)
        rows = many(writer.counts.predicted, "row")
        shown = rows if len(writer.cards) == writer.counts.predicted else f"The first {_CARDS} of {rows}"
        how = [*lines, f"{shown}; all are in {TABLE}."]
        if writer.has_outlines:
            how.append(_LEGEND)
        if writer.has_reasons:
            how.append(LEGEND)
        writer.finish(f"{predictor.job.job.name}: {_folder(manifest)}", how)
    return writer.counts


def _folder(manifest: Manifest) -> str:
    path = manifest.path.resolve()
    return path.parent.name if path.suffix.lower() == ".csv" else path.name


def _nothing(counts: Counts, manifest: Manifest) -> DataError:
    if not counts.problems:
        return DataError("has no rows", where=manifest.path)
    first = counts.problems[0]
    more = len(counts.problems) - 1
    return DataError(
        f"{first.problem}; nothing could be predicted" + (f", {more} more like this" if more else ""),
        where=first.where,
        remedy=first.remedy,
    )


def _classes(kinds: Mapping[str, Kind], kind: str) -> tuple[str, ...]:
    name = first_of_kind(kinds, kind)
    return kinds[name].field.classes if name else ()


def _plain(name: str) -> str:
    """Return the name of an image's file as part of another: its letters, without folders or ending."""
    last = Path(name).name
    for ending in (".gz", Path(last.removesuffix(".gz")).suffix):
        last = last.removesuffix(ending) if ending else last
    return _ODD.sub("_", last)[:80] or "image"
