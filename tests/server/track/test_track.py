"""Runs in TensorBoard, MLflow and Weights & Biases: what their own readers find there."""

import importlib.util
import json
import struct
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest

from server.runs.control import RunDetails, RunRow, parse_event
from server.runs.events import Event
from server.track.sink import About, Target
from server.track.tracker import Tracker, track_going
from shared.errors import RunError
from shared.run_folder import RunRecord
from tests.cli import wardround
from tests.jobs import job_text

NAMES = {"tensorboard": "tensorboard", "mlflow": "mlflow", "wandb": "wandb"}


def needs(kind: str) -> None:
    if importlib.util.find_spec(NAMES[kind]) is None:
        pytest.skip(f"needs the extra '{kind}'")


def points_of(kind: str, place: Path, name: str) -> dict[str, list[tuple[int, float]]]:
    """Return what a tracker has of a run, by its own reader: name -> (round, value)."""
    return {"tensorboard": of_tensorboard, "mlflow": of_mlflow, "wandb": of_wandb}[kind](place, name)


def of_tensorboard(place: Path, name: str) -> dict[str, list[tuple[int, float]]]:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(place / name))
    events.Reload()
    return {
        tag: [(point.step, point.value) for point in events.Scalars(tag)] for tag in events.Tags()["scalars"]
    }


def of_mlflow(place: Path, name: str) -> dict[str, list[tuple[int, float]]]:
    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{place}/mlflow.db")
    [experiment] = [item for item in client.search_experiments() if item.name == "wardround"]
    [run] = client.search_runs([experiment.experiment_id])
    assert (run.info.run_name, run.info.status) == (name, "FINISHED")
    assert run.data.params["job.rounds"] == "3"
    return {
        key: [(point.step, point.value) for point in client.get_metric_history(run.info.run_id, key)]
        for key in run.data.metrics
    }


def records(content: bytes) -> Iterator[bytes]:
    """Give the records of a log as LevelDB writes it: in blocks of 32 KiB, behind a header of 7 bytes."""
    parts, place = b"", 7
    while place + 7 <= len(content):
        left = 32768 - place % 32768
        if left < 7:
            place += left
            continue
        length, kind = struct.unpack_from("<HB", content, place + 4)
        parts += content[place + 7 : place + 7 + length]
        place += 7 + length
        if kind in (1, 4):  # whole, or the last part
            yield parts
            parts = b""


def of_wandb(place: Path, name: str) -> dict[str, list[tuple[int, float]]]:
    """Read the file that `wandb sync` would send."""
    import wandb
    from wandb.proto.wandb_internal_pb2 import Record

    wandb.teardown()  # as at the end of a program: its service has written everything then
    [file] = place.glob(f"wandb/offline-run-*-{name}/run-{name}.wandb")
    found: dict[str, list[tuple[int, float]]] = {}
    for data in records(file.read_bytes()):
        record = Record()
        record.ParseFromString(data)
        items = {
            item.key or "/".join(item.nested_key): json.loads(item.value_json) for item in record.history.item
        }
        for key, value in items.items():
            if not key.startswith("_"):
                found.setdefault(key, []).append((int(items["_step"]), float(value)))
        for item in record.summary.update:
            key = item.key or "/".join(item.nested_key)
            if key.startswith("test/"):
                found[key] = [(0, float(json.loads(item.value_json)))]
    return found


@pytest.fixture(scope="module")
def run(tiny_data: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[RunRecord, Path]:
    """Return a run that was tracked by all that are installed while it went on, and where."""
    folder = tmp_path_factory.mktemp("tracked")
    (folder / "tiny.toml").write_text(job_text())
    there = [kind for kind, name in NAMES.items() if importlib.util.find_spec(name) is not None]
    targets = [word for kind in there for word in ("--track", f"{kind}:live-{kind}")]
    ended = wardround(
        *("simulate", "tiny.toml", "--data", tiny_data, "--workers", "in-process"), *targets, cwd=folder
    )
    assert ended.returncode == 0, ended.stderr
    [path] = (folder / "runs").iterdir()
    return RunRecord.read(path), folder


def expected(record: RunRecord) -> Mapping[str, list[float]]:
    rows = record.table("metrics.csv")
    test = record.read_description()["test"]["federation"]
    sites = [row for row in record.table("sites.csv") if (row["site"], row["phase"]) == ("alpha", "train")]
    return {
        "validation/dice_global": [float(row["dice_global"]) for row in rows],
        "train/loss": [float(row["train_loss"]) for row in rows],
        "train/loss/alpha": [float(row["train_loss"]) for row in sites],
        "test/dice_global": [float(test["dice_global"])],
    }


@pytest.mark.parametrize("kind", NAMES)
@pytest.mark.parametrize("when", ["live", "afterwards"])
def test_a_tracker_has_what_the_run_has(
    run: tuple[RunRecord, Path], kind: str, when: str, tmp_path: Path
) -> None:
    needs(kind)
    record, folder = run
    place = folder / f"live-{kind}"
    if when == "afterwards":
        place = tmp_path / "place"
        ended = wardround("track", record.path, "--to", f"{kind}:{place}", "--json")
        assert ended.returncode == 0, ended.stderr
        assert json.loads(ended.stdout)["to"] == [f"{kind}:{place}"]
    found = points_of(kind, place, record.path.name)
    for name, values in expected(record).items():
        assert [value for _, value in found[name]] == pytest.approx(values, rel=1e-6), name
    assert [step for step, _ in found["validation/dice_global"]] == [1, 2, 3]
    assert [step for step, _ in found["train/loss/alpha"]] == [1, 2, 3]


class Going:
    """The runs of a coordinator, of which one goes on while it is followed."""

    def __init__(self, record: RunRecord, meanwhile: Callable[[int], None]) -> None:
        self._record = record
        self._meanwhile = meanwhile

    def look(self, name: str) -> RunDetails:
        row = RunRow(name, self._record.status, 3, 3, "", "", "", "")
        return RunDetails(row, self._record.job, self._record.read_description())

    def follow(self, name: str) -> Iterator[Event]:
        for line in self._record.events():
            if event := parse_event(line):
                yield event
                if event.kind == "round_finished":
                    self._meanwhile(event.round)


def test_a_run_of_a_coordinator_is_told_as_it_goes_on(run: tuple[RunRecord, Path], tmp_path: Path) -> None:
    needs("tensorboard")
    record, seen = run[0], []

    def look(_: int) -> None:
        points = of_tensorboard(tmp_path, "heart-1")
        seen.append([round_ for round_, _ in points["validation/dice_global"]])

    track_going(Going(record, look), "heart-1", [f"tensorboard:{tmp_path}"])
    assert seen == [[1], [1, 2], [1, 2, 3]]
    found = of_tensorboard(tmp_path, "heart-1")
    for name, values in expected(record).items():
        assert [value for _, value in found[name]] == pytest.approx(values, rel=1e-6), name


@pytest.mark.parametrize("kind", NAMES)
def test_a_run_is_not_tracked_twice_in_one_place(run: tuple[RunRecord, Path], kind: str) -> None:
    needs(kind)
    record, folder = run
    ended = wardround("track", record.path, "--to", f"{kind}:{folder / f'live-{kind}'}")
    assert ended.returncode == 2
    assert f"has the run '{record.path.name}' already" in ended.stderr


@pytest.mark.parametrize("kind", NAMES)
def test_a_run_that_goes_on_is_the_same_one_there(kind: str, tmp_path: Path) -> None:
    needs(kind)
    about = About("run-1", {"job.rounds": 3})
    target = Target(kind, str(tmp_path))
    first = target.open(about)
    first.log({"validation/dice_global": 0.25}, 1)
    first.finish({}, "stopped")
    again = target.open(about, goes_on=True)
    again.log({"validation/dice_global": 0.5}, 2)
    again.finish({"test/dice_global": 0.5}, "finished")
    if kind != "wandb":  # it has a file for each part, which its server joins by the run's name
        assert points_of(kind, tmp_path, "run-1")["validation/dice_global"] == [(1, 0.25), (2, 0.5)]
    else:
        assert len(list(tmp_path.glob("wandb/offline-run-*-run-1"))) >= 1


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("tensorbord:x", "did you mean 'tensorboard'?"),
        ("tensorboard", "names no place"),
        ("wandb:", "names no place"),
        ("mlflow:https://ada:hunter2@mlflow.example.org", "holds a password"),
    ],
)
def test_what_is_no_tracker_is_said_before_the_data_are_read(
    target: str, message: str, tmp_path: Path
) -> None:
    (tmp_path / "tiny.toml").write_text(job_text())
    ended = wardround("simulate", "tiny.toml", "--data", "nowhere", "--track", target, cwd=tmp_path)
    assert ended.returncode == 2
    assert message in ended.stderr
    assert "hunter2" not in ended.stderr
    assert not (tmp_path / "runs").exists()


def test_a_tracker_that_is_not_installed_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "wandb", None)
    monkeypatch.delitem(sys.modules, "server.track.wandb", raising=False)
    with pytest.raises(RunError, match="wandb is not installed") as told:
        Target("wandb", str(tmp_path)).open(About("run", {}))
    assert "pip install 'wardround[wandb]'" in str(told.value)


class Breaks:
    """A tracker whose disk is full after its first round."""

    def __init__(self) -> None:
        self.rounds: list[int] = []

    def log(self, numbers: Mapping[str, float], round_: int) -> None:
        """Take one round."""
        if self.rounds:
            raise OSError("No space left on device")
        self.rounds.append(round_)

    def finish(self, numbers: Mapping[str, float], status: str) -> None:
        """Never be asked: it was left out."""
        raise AssertionError


def test_a_tracker_that_fails_is_left_out_and_stops_nothing(
    run: tuple[RunRecord, Path], caplog: pytest.LogCaptureFixture
) -> None:
    broken = Breaks()
    tracker = Tracker({"disk": broken})
    for number in (1, 2, 3):
        tracker(Event("round_finished", number, data={"dice_global": 0.5}))
    tracker.finish({}, "finished")
    assert broken.rounds == [1]
    assert caplog.text.count("disk is told nothing more of this run: No space left on device") == 1


def test_the_user_s_settings_name_trackers_for_every_run(
    run: tuple[RunRecord, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    needs("tensorboard")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    (tmp_path / "wardround").mkdir()
    settings = tmp_path / "wardround" / "settings.toml"
    settings.write_text(f'[track]\nto = ["tensorboard:{tmp_path}/tb"]\n')
    assert wardround("track", run[0].path).returncode == 0
    assert [path.name for path in (tmp_path / "tb").iterdir()] == [run[0].path.name]
    settings.write_text("[track]\nwhere = 1\n")
    ended = wardround("track", run[0].path)
    assert ended.returncode == 2
    assert f"{settings}: track.where" in ended.stderr


def test_nothing_to_track_in_is_wrong_usage(
    run: tuple[RunRecord, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    ended = wardround("track", run[0].path)
    assert ended.returncode == 2
    assert "settings.toml" in ended.stderr
