"""A finished run's model on an archive and on queries: what is most alike."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from client.data.kinds import Kind, kinds_of
from client.data.manifest.rows import Manifest, Record
from client.data.new_folder import require_new
from client.predict.rows import find_rows
from client.retrieve.embedding import Embedded, Embedder
from client.retrieve.search import Goodness, goodness, nearest
from client.retrieve.write import PAGE, in_words, write_found
from client.training.device import open_device
from shared.errors import DataError
from shared.finished_run import FinishedRun, Which


@dataclass(frozen=True)
class Retrieved:
    """What came of a search.

    Attributes:
        queries: Rows that were searched for.
        archive: Rows that were searched.
        goodness: Where labels are known.
        problems: Why rows of either could not be used.
    """

    page: Path
    queries: int
    archive: int
    goodness: Goodness | None
    problems: Sequence[DataError]


def retrieve_with(
    run: Path,
    archive: Path,
    query: Path,
    out: Path,
    *,
    count: int = 10,
    which: Which = "best",
    device: str = "auto",
    say: Callable[[str], None] = lambda _: None,
) -> Retrieved:
    """Find the images of an archive that are most like each query, of other patients.

    Args:
        run: Folder of a finished run of a classification.
        archive: A manifest, its folder, or a folder of images.
        query: The same; it may be the archive.
        out: A new folder.
        count: How many are found for each query.
        which: The model.
        device: `cpu`, `cuda`, `cuda:N` or `auto`.
        say: Told what is going on.

    Raises:
        WardroundError: The folder exists, the run can't be used, or no row of either.
    """
    require_new(out)
    finished = FinishedRun.read(run)
    embedder = Embedder.of(finished, which, open_device(device))
    embedder.require_features()
    kinds = {name: kind for name, kind in kinds_of(finished.job).items() if kind.field.role == "input"}
    sides = [embedded(embedder, find_rows(place, finished.job, kinds), kinds) for place in (archive, query)]
    (kept, vectors, problems), (asked, wanted, others) = sides
    owners = [row.patient for row in asked], [row.patient for row in kept]
    labels = [row.label or "" for row in asked], [row.label or "" for row in kept]
    found = nearest(wanted, vectors, count, owners)
    how_good = goodness(found, labels, owners)
    lines = [f"{len(asked)} queries, among {len(kept)} images of the archive; of other patients alone."]
    lines += [] if how_good is None else [in_words(how_good, count)]
    for line in lines:
        say(line)
    write_found(out, finished.job, kinds, (asked, kept), found, lines=lines)
    return Retrieved(out / PAGE, len(asked), len(kept), how_good, [*problems, *others])


def embedded(
    embedder: Embedder, manifest: Manifest, kinds: dict[str, Kind]
) -> tuple[list[Record], NDArray[np.float64], list[DataError]]:
    """Return the rows that can be used, their vectors (A, N), and what is wrong with the others.

    Raises:
        DataError: No row can be used.
    """
    rows, vectors, problems = [], [], list(manifest.problems)
    for said in embedder.answers(manifest, kinds):
        if isinstance(said.answer, Embedded):
            vector = said.answer.vector.numpy()
            if not np.isfinite(vector).all():  # like nothing, and like everything
                where = manifest.at(said.record)
                problems.append(DataError("the model makes no finite numbers of it", where=where))
                continue
            rows.append(said.record)
            vectors.append(vector)
        elif said.problem is not None:
            problems.append(said.problem)
    if not rows:
        first = problems[0] if problems else DataError("has no rows", where=manifest.path)
        raise first
    return rows, np.stack(vectors), problems
