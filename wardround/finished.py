"""A run, as Python has it: what came out, its model, and what the model says of images."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from wardround.jobs import Job

if TYPE_CHECKING:
    import pandas as pd
    from torch import nn

    from shared.run_folder import RunRecord


@dataclass(frozen=True)
class Predictions:
    """What a model said of images; it shows patients, and only you can read the folder.

    Attributes:
        folder: Where tables, masks, overlays and the page lie.
        problems: Why rows could not be used.
    """

    folder: Path
    problems: Sequence[str] = field(default_factory=tuple)

    @property
    def page(self) -> Path:
        """The page to look at."""
        return self.folder / "index.html"

    @property
    def table(self) -> "pd.DataFrame":
        """One row per image: scores, measures, the mask's file, why it could not be used."""
        from wardround.tables import frame_of_csv

        return frame_of_csv((self.folder / "predictions.csv").read_text(encoding="utf-8"))


@dataclass(frozen=True)
class Run:
    """A run whose folder is on this machine, finished or not.

    Args:
        path: The folder.

    Raises:
        WardroundError: It is not the folder of a run.
    """

    path: Path

    def __init__(self, path: Path | str) -> None:
        object.__setattr__(self, "path", Path(path))
        self._record()  # a wrong folder is said at once

    @property
    def name(self) -> str:
        """The name of its folder."""
        return self.path.resolve().name

    @property
    def job(self) -> Job:
        """What was asked."""
        return Job(self._record().job)

    @property
    def status(self) -> str:
        """`queued`, `waiting`, `running`, `finished`, `failed`, `stopped` or `interrupted`."""
        return self._record().status

    @property
    def description(self) -> dict[str, Any]:
        """All that `run.json` says: hospitals, versions, test, warnings."""
        return self._record().read_description()

    @property
    def metrics(self) -> "pd.DataFrame":
        """The rounds: training loss, validation metrics, seconds and bytes of all hospitals together."""
        return self._table("metrics.csv")

    @property
    def site_metrics(self) -> "pd.DataFrame":
        """The same of each hospital, as far as it lets its own be seen."""
        return self._table("sites.csv")

    @property
    def results(self) -> "pd.DataFrame":
        """The tested model: each metric with its interval of 95 %, beside what sees no image."""
        return self.tables["results-results"]

    @property
    def tables(self) -> dict[str, "pd.DataFrame"]:
        """Every table of the report and the points of every figure, by name."""
        from server.report.write import report_on
        from wardround.tables import frames_of

        return frames_of(report_on([self.path], images=False))

    def model(self, which: Literal["best", "last"] = "best", device: str = "cpu") -> "nn.Module":
        """Return the trained network, in evaluation mode.

        Args:
            which: The model that was tested, or that of the last round.
            device: `cpu`, `cuda`, `cuda:N` or `auto`.

        Returns:
            A module that takes images as a site prepares them, (B, C, *S), and gives logits, not answers:
            `predict` reads, prepares and answers.

        Raises:
            WardroundError: The run has no model yet, or the file is damaged.
        """
        from client.training.device import open_device
        from shared.finished_run import FinishedRun

        return FinishedRun.read(self.path).model(open_device(device), which).eval()

    def predict(self, data: Path | str | None, out: Path | str, **options: Any) -> Predictions:
        """Ask the run's model about images; see `wardround.predict`."""
        return predict(self, data, out, **options)

    def report(self, out: Path | str | None = None, *, images: bool = True) -> Path:
        """Write what came out as one page; see `wardround.report`."""
        return report(self, out=out, images=images)

    def _record(self) -> "RunRecord":
        from shared.run_folder import RunRecord

        return RunRecord.read(self.path)

    def _table(self, name: str) -> "pd.DataFrame":
        from wardround.tables import frame_of_csv

        return frame_of_csv(self._record().text(name))

    def __repr__(self) -> str:
        return f"<Run {self.name}: {self.status}>"


def report(
    *runs: Run | Path | str,
    out: Path | str | None = None,
    card: Path | str | None = None,
    images: bool = True,
) -> Path:
    """Write what came out of a run, or of several side by side, as one page; returns the file.

    Args:
        runs: Runs, or their folders.
        out: The page; `report.html` in the run's folder, or `comparison.html`, if not given.
        card: Also write a model card of the one run into this file.
        images: Whether a rehearsal's example images are shown.

    Raises:
        WardroundError: A run can't be read, or they can't be compared.
    """
    from server.report import write
    from server.report.card import write_card
    from shared.errors import RunError

    folders = [_run(run).path for run in runs]
    if card is not None and len(folders) > 1:
        raise RunError("a card is of one run", where=card)
    content = write.report_on(folders, images=images)
    if card is not None:
        write_card(folders[0], Path(card))
    return write.write_html(content, write.page_of(folders) if out is None else Path(out))


@dataclass(frozen=True)
class Comparison:
    """Runs side by side.

    Attributes:
        says: Sentences: what was compared, and what can't be said.
        tables: Every table of the report, by name.
    """

    says: Sequence[str]
    tables: Mapping[str, "pd.DataFrame"]

    @property
    def differences(self) -> "pd.DataFrame":
        """By how much the runs differ on the test patients, with p where they were the same patients.

        It is empty where nothing can be said; `says` has the reason.
        """
        from wardround.tables import frame

        found = [table for name, table in self.tables.items() if name.startswith("differences-")]
        return found[0] if found else frame([])

    def __repr__(self) -> str:
        return "\n".join(["<Comparison", *(f"  {line}" for line in self.says), ">"])


def compare(first: Run | Path | str, second: Run | Path | str) -> Comparison:
    """Return two runs side by side: what came out, and whether a difference may be chance.

    Raises:
        WardroundError: A run can't be read, or they can't be compared.
    """
    from server.report.write import report_on
    from wardround.tables import frames_of

    report = report_on([_run(run).path for run in (first, second)])
    says = [line for section in report.sections for line in (*section.says, *section.warns)]
    return Comparison(says, frames_of(report))


def predict(
    run: Run | Path | str,
    data: Path | str | None,
    out: Path | str,
    *,
    model: Literal["best", "last"] = "best",
    together: Sequence[Run | Path | str] = (),
    rounds: int = 1,
    device: str = "auto",
    explain: Sequence[str] = (),
    of: str | None = None,
    usual: Path | str | None = None,
    formats: Sequence[str] = (),
) -> Predictions:
    """Ask a finished run's model about images.

    Args:
        run: The run, or its folder.
        data: A manifest, its folder, an image, a folder or an archive of images or DICOM studies; None for a
            task that draws images of nobody.
        out: A new folder.
        model: The model that was tested, or that of the last round.
        together: Further runs, whose models answer with this one's: by the mean of their probabilities.
        rounds: How many of the last rounds answer together, where the job has `[evaluation] keep_models`.
        device: `cpu`, `cuda`, `cuda:N` or `auto`.
        explain: Methods that say why, such as `["grad-cam"]` (docs/explanations.md).
        of: The class that they explain; None takes the predicted one.
        usual: Labelled images of your own, from which follows how unusual others are (docs/robustness.md).
        formats: Further ones, such as `["dicom-seg"]` (docs/results.md).

    Raises:
        WardroundError: The folder is there already, the run has no model, or no image could be used.
    """
    from client.predict.run_model import predict_with

    asked, known = (None if one is None else Path(one) for one in (data, usual))
    told = predict_with(
        _run(run).path,
        asked,
        Path(out),
        which=model,
        together=[_run(other).path for other in together],
        rounds=rounds,
        device=device,
        explain=explain,
        of=of,
        usual=known,
        formats=formats,
    )
    return Predictions(Path(out), tuple(str(problem) for problem in told.problems))


def _run(run: Run | Path | str) -> Run:
    return run if isinstance(run, Run) else Run(run)
