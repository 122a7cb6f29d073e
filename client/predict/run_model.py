"""A finished run's model on images, from the run's folder to the folder of predictions."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

from client.data.kinds import given_kinds_of
from client.data.new_folder import require_new
from client.explain.explainer import Explainer
from client.pacs.results import stored_results
from client.pacs.stow import Store
from client.predict.answering import Predictor, Said
from client.predict.dicom.maker import RESEARCH
from client.predict.ensemble import rounds_of
from client.predict.formats import DICOM, known_formats
from client.predict.further import Further
from client.predict.rows import find_rows
from client.predict.samples import write_samples
from client.predict.unpacked import unpacked
from client.predict.usual import asks_what_is_usual, familiar_of, usual_here
from client.predict.write import PAGE, write_predictions
from client.training.device import open_device
from shared.decisions.choice import Choice, choice_of
from shared.errors import DataError, RunError
from shared.finished_run import FinishedRun, Which
from shared.further_metrics.familiar import Familiar
from shared.run_folder import ABOUT, BEST
from shared.tasks.base import Task


@dataclass(frozen=True)
class Told:
    """What was written.

    Attributes:
        predicted: Rows.
        problems: Why others could not be used.
        drawn: Images of nobody, where the task draws them; otherwise None.
        stored: Objects that the archive has taken.
    """

    page: Path
    predicted: int = 0
    problems: Sequence[DataError] = ()
    drawn: int | None = None
    stored: int = 0


def predict_with(
    run: Path,
    data: Path | None,
    out: Path,
    *,
    which: Which = "best",
    together: Sequence[Path] = (),
    rounds: int = 1,
    device: str = "auto",
    explain: Sequence[str] = (),
    of: str | None = None,
    usual: Path | None = None,
    formats: Sequence[str] = (),
    archive: Store | None = None,
    say: Callable[[str], None] = lambda _: None,
    track: Callable[[Iterable[Said], int], Iterable[Said]] = lambda said, _: said,
) -> Told:
    """Ask a run's model about images and write what it says into a new folder.

    Args:
        run: Folder of a finished run.
        data: A manifest, its folder, an image, a folder or an archive of images or DICOM studies; None for a
            task that draws images of nobody.
        out: The new folder.
        which: The model.
        rounds: How many of the last rounds of each run answer, by the mean of probabilities; 1 is `which`.
        together: Folders of further runs, whose models answer with this one's: by the mean of probabilities.
        device: `cpu`, `cuda`, `cuda:N` or `auto`.
        explain: Methods that say why, of `client.explain.methods`.
        of: The class that they explain; None takes the predicted one.
        usual: Labelled images of the hospital's own, as `data`, by which others are unusual or not; None
            takes the sums of the run's test, if it asked for them.
        formats: Further ones, in which it is written beside tables, NIfTI and PNG.
        archive: Takes what was written as DICOM, once all is written.
        say: Told which model it is, before anything is predicted.
        track: Wraps the rows, given their number, to show progress.

    Raises:
        WardroundError: The folder exists, the run has no model, or no row could be used.
    """
    require_new(out)
    if archive is not None and not DICOM & set(formats):
        raise RunError(
            "takes DICOM alone, and nothing else was asked for", where="--store", remedy="Add --as dicom-seg."
        )
    explainer, others = _explainer(explain, of), known_formats(formats)
    finished, beside = FinishedRun.read(run), [FinishedRun.read(other) for other in together]
    members = [
        member
        for own in (finished, *beside)
        for member in ([(own, which)] if rounds == 1 else rounds_of(own, rounds))
    ]
    if len(members) > 1:
        _require_alone(usual=usual, explain=explain, formats=formats)
    asked = Predictor.of(finished, which, open_device(device), members)
    predictor = replace(asked, explainer=explainer)
    lines = [line for own, model in members for line in _which_model(own, model)]
    for line in lines:
        say(line)
    lines.append(f"{RESEARCH}: no medical device, and nobody may treat a patient by it.")
    if type(predictor.task).draw is not Task.draw:
        if data is not None:
            raise RunError("draws images of nobody and says nothing of yours: leave out --data", where=run)
        return Told(out / PAGE, drawn=write_samples(predictor, out, lines))
    predictor.require_answers()
    if data is None:
        raise RunError("says something of images: give --data", where=run)
    if len(members) == 1:  # what was chosen and what is usual are of one model's scores
        choice = _choice(finished, which)
        predictor = replace(predictor, familiar=_familiar(finished, predictor, usual), choice=choice)
    if predictor.choice is not None:
        lines.append(
            f"Calibration, operating point and sets as chosen on {predictor.choice.images} validation images."
        )
        say(lines[-1])
    if predictor.familiar is None and asks_what_is_usual(finished.job) and len(members) == 1:
        lines.append("No hospital told what is usual, as its policy bounds sums: give --usual.")
        say(lines[-1])
    further = Further.of_run(finished, which, others) if others else None
    with TemporaryDirectory(prefix="wardround-") as staging:
        images, kinds = unpacked(data, Path(staging)), given_kinds_of(finished.job)
        found = find_rows(images, finished.job, kinds, Path(staging))
        manifest = replace(found, path=data if images != data else found.path)
        predictor = predictor.comparing(manifest, kinds)
        counts = write_predictions(predictor, manifest, out, lines, track=track, further=further)
    stored = 0 if archive is None else stored_results(out, archive)
    return Told(out / PAGE, counts.predicted, counts.problems, stored=stored)


def _require_alone(**asked: object) -> None:
    """Refuse with several models what looks into one, or names it.

    Raises:
        RunError: Something of it is asked for.
    """
    why = {"usual": "compares features", "explain": "looks into a network", "formats": "names a model"}
    for option, reason in why.items():
        if asked[option]:
            name = "--as" if option == "formats" else f"--{option}"
            raise RunError(f"{reason}, and there are several: leave out --with and --rounds", where=name)


def _familiar(run: FinishedRun, predictor: Predictor, usual: Path | None) -> Familiar | None:
    if usual is None:
        return familiar_of(run)
    kinds = given_kinds_of(run.job)
    return usual_here(predictor, find_rows(usual, run.job, kinds), kinds)


def _choice(run: FinishedRun, which: Which) -> Choice | None:
    """Return what the run has chosen of this model: of another round's it says nothing."""
    found = choice_of(run.description, run.path / ABOUT)
    return found if found is not None and found.round == run.round_of(which) else None


def _explainer(methods: Sequence[str], of: str | None) -> Explainer | None:
    if not methods:
        if of is not None:
            raise RunError("says which class is explained, and nothing is: give --explain", where="--of")
        return None
    explainer = Explainer(list(dict.fromkeys(methods)), of)
    explainer.require_known()
    return explainer


def _which_model(run: FinishedRun, which: Which | int) -> Iterator[str]:
    """Say which model it is."""
    is_best = run.file(which).name == BEST
    what = "one of the last" if isinstance(which, int) else "the last"
    what = "chosen on validation patients" if is_best else what
    name = run.path.resolve().name
    if run.job.judges:
        yield f"The model that the run {name} judged."
        return
    yield f"Model of round {run.round_of(which)} of {run.rounds} of the run {name}, {what}."
    if which == "best" and not is_best:
        yield "The job chooses no best round."
    if run.sites_judge_their_own:
        yield (
            f"With '{run.job.strategy.name}' each site has a model of its own, which stays there: this is "
            "the shared one, and the figures of the run are of theirs."
        )
