"""A finished run's model on the unlabelled rows of a manifest: which of them to label next."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from client.data.kinds import kinds_of
from client.data.new_folder import require_new
from client.labelling.ranking import By, Track, ranked, require_classes
from client.labelling.write import TABLE, write_list
from client.predict.answering import Predictor
from client.predict.rows import find_rows
from client.training.device import open_device
from shared.errors import DataError
from shared.finished_run import FinishedRun, Which


@dataclass(frozen=True)
class Listed:
    """What was written.

    Attributes:
        listed: Rows on the list.
        unlabelled: Rows that were ranked.
        labelled: Rows that have a label.
        beside: Files and folders beside the table.
        problems: Why other rows could not be used.
    """

    table: Path
    listed: int
    unlabelled: int
    labelled: int
    beside: Sequence[str]
    problems: Sequence[DataError]


def list_with(
    run: Path,
    data: Path,
    out: Path,
    *,
    by: By = "entropy",
    count: int = 50,
    which: Which = "best",
    device: str = "auto",
    track: Track = lambda said, _: said,
) -> Listed:
    """Write a list of the rows whose labels would teach a run's model most.

    Rows that the manifest's column `split` puts into 'val' or 'test' are left out: patients who judge are not
    chosen by what a model finds hard.

    Args:
        run: Folder of a finished run of a classification or segmentation.
        data: A manifest, its folder, or a folder of images; a row without a label or mask is unlabelled.
        out: A new folder.
        by: How rows are ranked.
        count: Rows on the list, at most.
        which: The model.
        device: `cpu`, `cuda`, `cuda:N` or `auto`.
        track: Wraps the rows, to show progress.

    Raises:
        WardroundError: The folder exists, the run can't be used, or no row is unlabelled.
    """
    require_new(out)
    finished = FinishedRun.read(run)
    predictor = Predictor.of(finished, which, open_device(device))
    require_classes(predictor)
    manifest = find_rows(data, finished.job, kinds_of(finished.job))
    trained = [record for record in manifest.records if record.split in (None, "", "train")]
    ranking = ranked(predictor, replace(manifest, records=trained), by, count, track)
    if not ranking.rows:
        first = ranking.problems[0] if ranking.problems else None
        raise first or DataError("has no row without a label, of those who train", where=manifest.path)
    beside = write_list(out, finished.job, ranking.rows, by)
    return Listed(
        out / TABLE, len(ranking.rows), ranking.unlabelled, ranking.labelled, beside, ranking.problems
    )
