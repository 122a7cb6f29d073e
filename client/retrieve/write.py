"""The folder of what was found: a table and a page with pictures, for their owner's eyes only."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path

from client.data.kinds import Kind
from client.data.look.cards import Card
from client.data.look.page import Sheet, page
from client.data.look.tiles import Tile
from client.data.manifest.rows import Record
from client.data.new_folder import new_folder, put
from client.predict.csv_table import csv_table
from client.predict.drawing import Picture
from client.predict.geometry import place
from client.retrieve.search import Found, Goodness
from shared.job.schema import JobSpec
from shared.tasks.answers import Answer, Cell

TABLE, PAGE = "neighbours.csv", "index.html"
_CARDS = 50  # on the page
_SHOWN = 8  # neighbours on a card


def write_found(
    out: Path,
    job: JobSpec,
    kinds: Mapping[str, Kind],
    rows: tuple[Sequence[Record], Sequence[Record]],
    found: Sequence[Found],
    *,
    lines: Sequence[str],
) -> None:
    """Write what was found into a new folder.

    Args:
        out: The folder.
        job: Of the run.
        kinds: Of the image alone.
        rows: The queries, and the archive.
        found: For each query.
        lines: What the page says first.

    Raises:
        DataError: The folder exists or can't be written, or an image can't be read any more.
    """
    queries, archive = rows
    with new_folder(out) as folder:
        put(folder / TABLE, csv_table(list(_table(queries, archive, found, job.data.images[0]))))
        cards = [
            _card(query, [archive[place] for place in one.places[:_SHOWN]], one, kinds, job)
            for query, one in list(zip(queries, found, strict=True))[:_CARDS]
        ]
        more = [f"The first {_CARDS} of {len(queries)} queries; all are in {TABLE}."]
        told = [*lines, *(more if len(queries) > _CARDS else [])]
        sheet = Sheet(f"{job.job.name}: like these", told, [], [], (), {"Queries": cards})
        put(folder / PAGE, page(sheet).encode())


def _table(
    queries: Sequence[Record], archive: Sequence[Record], found: Sequence[Found], image: str
) -> list[dict[str, Cell]]:
    return [
        {
            "row": query.row,
            "image": query.cells.get(image, ""),
            "label": query.label or "",
            "rank": rank,
            "likeness": float(likeness),
            "found_row": archive[place].row,
            "found_patient": archive[place].patient,
            "found_image": archive[place].cells.get(image, ""),
            "found_label": archive[place].label or "",
        }
        for query, one in zip(queries, found, strict=True)
        for rank, (place, likeness) in enumerate(zip(one.places, one.likeness, strict=True), 1)
    ]


def _card(
    query: Record, alike: Sequence[Record], found: Found, kinds: Mapping[str, Kind], job: JobSpec
) -> Card:
    shown = [replace(one, title="query") for one in _tiles(query, kinds, job)]
    for row, likeness in zip(alike, found.likeness, strict=False):
        title = f"{likeness:.2f} {row.label or ''}".strip()
        shown += [replace(one, title=title) for one in _tiles(row, kinds, job)]
    facts = [("label", query.label)] if query.label else []
    return Card(f"Row {query.row}", (), "", shown, [], None, facts, stage="")


def _tiles(row: Record, kinds: Mapping[str, Kind], job: JobSpec) -> list[Tile]:
    """Return an image as it is; of a volume one plane."""
    placed = place(row, kinds, job.data, Answer({}))
    return [] if placed is None else Picture(placed).tiles()[:1]


def in_words(goodness: Goodness, count: int) -> str:
    """Return how good a search was, as a line for people."""
    return (
        f"Of {count} found, {goodness.precision:.0%} have the query's label (drawn at random "
        f"{goodness.chance:.0%}); one does for {goodness.recall:.0%} of {goodness.queries} queries; "
        f"mAP {goodness.mean_average_precision:.3f}."
    )


def as_json(goodness: Goodness | None) -> dict[str, float | int] | None:
    """Return the same for programs."""
    return None if goodness is None else asdict(goodness)
