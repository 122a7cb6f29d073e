"""Metrics under secure aggregation: the sum is that of all sites, and nothing of a single one is known."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from flwr.app import RecordDict
from PIL import Image

from client.work.hospital import Site
from server.rounds.secure_sum import SecureSum
from server.runs.folder import RunFolder
from shared.errors import RunError
from shared.metrics.summed_states import states_of
from shared.privacy.secagg import messages as stages
from shared.wire import messages
from shared.wire.flat_array import to_array, view
from tests.conftest import write_dataset
from tests.server.conftest import make_sites

SITES = ("alpha", "beta", "gamma", "delta")
CLASSIFY = {"task_name": "classification", "evaluation_select_best": "auroc"}


@pytest.fixture
def secure_job(tiny_job):
    return lambda **changes: tiny_job(**{"job_rounds": 2, "privacy_secure_aggregation": True} | changes)


def with_policy(sites: list[Site], **policy) -> None:
    for site in sites:
        site.config = site.config.model_copy(update={"policy": site.config.policy.model_copy(update=policy)})


def noted(federated) -> list[messages.Request]:
    """Return the evaluations that the first site is asked for, as they come."""
    asked: list[messages.Request] = []

    def note(question, answer):
        if question.metadata.message_type == "evaluate":
            asked.append(messages.read_request(question.content))
        return [answer]

    federated.grid.changes[10] = note
    return asked


@pytest.mark.parametrize("changes", [{}, CLASSIFY], ids=["segmentation", "classification"])
def test_the_metrics_are_those_of_all_predictions_pooled(secure_job, federate, tmp_path, changes):
    manifest = write_dataset(tmp_path / "data", patients=60)  # a bin of scores for ten of them
    federated = federate(secure_job(**changes), manifest=manifest)
    with_policy(federated.grid.sites, share_site_metrics=False)  # which is about a site's own figures
    asked = noted(federated)
    result = federated.loop.execute()
    assert [request.split for request in asked] == ["val", "val", "test"]
    pooled = federated.loop.task.metrics(asked[-1].edges)
    for site in make_sites(manifest, SITES, tmp_path / "alone"):  # in the open, as no coordinator sees them
        pooled.merge(site.summand(asked[-1], judging=True, patients=10**6)[1])
    expected = pooled.compute()
    assert result.test.federation == pytest.approx(expected, abs=1e-6, nan_ok=True)
    assert not all(np.isnan(value) for value in expected.values())
    told = federated.run.read_description()["test"]
    assert told["sites"] == {key: {} for key in sorted(SITES)}
    assert federated.failures() == []


def with_boxes(manifest: Path) -> Path:
    """Put boxes around the structures of the masks into a manifest."""
    rows = list(csv.DictReader(manifest.open(newline="")))
    for row in rows:
        inside = np.argwhere(np.asarray(Image.open(manifest.parent / row["mask"])))
        (top, left), (bottom, right) = inside.min(axis=0).tolist(), (inside.max(axis=0) + 1).tolist()
        row["boxes"] = json.dumps([[left, top, right, bottom]])
    with manifest.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return manifest


def test_detections_are_summed_in_as_many_bins_as_the_patients_allow(secure_job, federate, tmp_path):
    manifest = with_boxes(write_dataset(tmp_path / "data", patients=60))
    job = secure_job(task_name="detection", training_local_epochs=6, training_learning_rate=0.03)
    federated = federate(job, manifest=manifest)
    asked = noted(federated)
    result = federated.loop.execute()
    pooled = federated.loop.task.metrics()
    for site in make_sites(manifest, SITES, tmp_path / "alone"):
        pooled.merge(site.summand(asked[-1], judging=True, patients=60)[1])  # 15 of each are sure
    _, _, histogram = next(part for part in states_of(pooled.metrics) if part[0] == "ap30/disc")
    assert np.count_nonzero(histogram) <= 6
    assert result.test.federation == pytest.approx(pooled.compute(), abs=1e-6)
    assert result.test.federation["ap30"] > 0.2
    assert federated.failures() == []


def test_a_run_that_was_cut_off_ends_with_the_same_metrics(secure_job, federate, tmp_path):
    job = secure_job(job_rounds=3)
    whole = federate(job, run=RunFolder.create(tmp_path / "whole", job))
    whole.loop.execute()
    cut = federate(job, run=RunFolder.create(tmp_path / "cut", job))

    def cut_off(question, answer):
        if question.metadata.message_type == "evaluate" and question.content["config"]["round"] == 2:
            raise KeyboardInterrupt
        return [answer]

    cut.grid.changes[11] = cut_off
    with pytest.raises(KeyboardInterrupt):
        cut.loop.execute()
    resumed = federate(job, run=RunFolder.open(cut.run.path))
    resumed.loop.execute(resume=True)
    for name in ("model.safetensors", "best.safetensors"):
        assert (resumed.run.path / name).read_bytes() == (whole.run.path / name).read_bytes()
    results = [run.read_description()["test"] for run in (resumed.run, whole.run)]
    assert results[0] == results[1]
    values = [metrics_of(run.path) for run in (resumed.run, whole.run)]
    assert values[0] == values[1]


def metrics_of(run: Path) -> list[dict[str, str]]:
    with (run / "metrics.csv").open(newline="") as file:
        return [
            {key: value for key, value in row.items() if key not in ("seconds", "bytes")}
            for row in csv.DictReader(file)
        ]


def without_validation(manifest: Path, folder: Path, sites: tuple[str, ...]) -> Path:
    """Return a copy of a manifest in which some sites have no patients for validation."""
    rows = list(csv.DictReader(manifest.open()))
    for row in rows:
        row |= {"image": str(manifest.parent / row["image"]), "mask": str(manifest.parent / row["mask"])}
        if row["site"] in sites and row["split"] == "val":
            row["split"] = "train"
    with (folder / "manifest.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0].keys())
        writer.writeheader()
        writer.writerows(rows)
    return folder / "manifest.csv"


@pytest.mark.parametrize("strict", [False, True])
def test_of_two_sites_with_patients_there_are_no_metrics(secure_job, federate, tiny_data, tmp_path, strict):
    manifest = without_validation(tiny_data, tmp_path, ("alpha", "beta"))
    federated = federate(secure_job(), manifest=manifest, strict=strict)
    result = federated.loop.execute()
    assert [event.round for event in federated.events if event.kind == "not_evaluated"] == [1, 2]
    assert "2 sites have patients for the metrics, 3 must" in told(federated.run)[0]["reason"]
    assert not any(
        "dice_global" in name and value
        for row in metrics_of(federated.run.path)
        for name, value in row.items()
    )
    assert result.round == 2  # no metric speaks for another one
    assert result.test.federation["dice_global"] >= 0  # of the test all four have patients


def told(run: RunFolder) -> list[dict[str, str]]:
    lines = [json.loads(line) for line in (run.path / "events.jsonl").read_text().splitlines()]
    return [line for line in lines if line["event"] == "not_evaluated"]


@pytest.mark.parametrize("shared", [False, True])
def test_a_private_job_has_metrics_where_the_hospitals_share_them(secure_job, federate, shared):
    private = {"mechanism": "dp-sgd", "noise_multiplier": 1.0}
    changes = {f"privacy_{key}": value for key, value in private.items()}
    federated = federate(secure_job(job_rounds=1, strategy_weight="equal", **changes))
    with_policy(federated.grid.sites, share_private_metrics=shared)
    result = federated.loop.execute()
    assert (result.test.federation["dice_global"] >= 0) == shared
    assert bool(told(federated.run)) != shared
    words = federated.run.read_description()["guarantee"]["sites"]["alpha"]["words"]
    assert ("in a sum with those of other sites" in words) == shared


def test_a_false_sum_is_no_metric(secure_job, federate):
    federated = federate(secure_job(job_rounds=1))

    def lie(question, answer):
        if question.metadata.message_type == "evaluate":
            record = answer.content[messages.ARRAYS]
            record[messages.VECTOR] = to_array(view(record[messages.VECTOR]) + (1 << 61))
        return [answer]

    federated.grid.changes[12] = lie
    with pytest.raises(RunError, match="the sum makes no sense"):  # the test: --resume may do it again
        federated.loop.execute()
    (event,) = told(federated.run)
    assert "the sum makes no sense" in event["reason"]
    assert not metrics_of(federated.run.path)[0].get("dice_global")


def test_more_bins_than_the_claimed_patients_allow_are_merged(secure_job, federate, tiny_data, tmp_path):
    """A coordinator that sends edges of a thousand bins gets no finer histogram of the sum."""
    federated = federate(secure_job(**CLASSIFY, evaluation_bins=1000))
    loop, site = federated.loop, make_sites(tiny_data, SITES, tmp_path / "alone")[0]
    config = messages.request_config(loop.job.canonical(), loop.layout.digest(), 1, split="val")
    record = messages.evaluation_record(loop.first_model(), loop.task.first_edges(1000))
    request = messages.read_request(RecordDict({messages.ARRAYS: record, messages.CONFIG: config}))
    for patients, most in ((40, 4), (9, 1)):
        metrics, states = site.summand(request, judging=True, patients=patients)
        metrics.merge(states)
        curves = metrics.whole.curves()
        assert curves.bins == 1000
        assert 0 < np.count_nonzero(curves.positives + curves.negatives) <= most
        assert np.count_nonzero(metrics.whole.metrics["calibration"].count.numpy()) <= most


def silent(federated, node: int, kind: str, split: str = "") -> None:
    """Let a site not answer one kind of message, of one split."""

    def answer(question, reply):
        is_of_split = not split or question.content["config"].get("split") == split
        return [] if question.metadata.message_type == kind and is_of_split else [reply]

    federated.grid.changes[node] = answer


def test_validation_is_of_all_sites_or_of_none(secure_job, federate):
    """Else the sites, which remember over whom they were summed, would refuse the next one of all."""
    federated = federate(secure_job())
    silent(federated, 12, f"query.{stages.KEYS}", "val")
    result = federated.loop.execute()
    assert {line["reason"] for line in told(federated.run)} == {
        "gamma dropped out, and validation is of all sites or of none"
    }
    assert result.test.federation["dice_global"] >= 0


@pytest.fixture
def with_bins(secure_job, federate, tmp_path):
    """A federation of four sites with some 15 test patients each, one of which drops out of the test."""
    manifest = write_dataset(tmp_path / "data", patients=240)
    federated = federate(secure_job(**CLASSIFY, job_rounds=1, evaluation_bins=1000), manifest=manifest)
    silent(federated, 12, "evaluate", "test")
    return federated


def test_who_is_left_folds_to_the_bins_that_their_patients_allow(with_bins):
    result = with_bins.loop.execute()
    members = [member for member in with_bins.loop._federation.members if member.name != "gamma"]
    left = sum(member.description.patients["test"] - 5 for member in members)
    asked = left + with_bins.loop._federation.members[2].description.patients["test"] - 5
    assert left // 10 < asked // 10
    curves = result.test.federation
    assert 0 <= curves["auroc"] <= 1
    failures = [(site, phase) for site, phase, _ in with_bins.failures()]
    assert failures == [("gamma", "test")]


def test_sites_do_not_unmask_more_bins_than_those_left_allow(with_bins, monkeypatch):
    """The coordinator goes on as if nobody had dropped out."""
    monkeypatch.setattr(SecureSum, "_check_left", lambda *_: None)
    with pytest.raises(RunError, match="sites signed the list of survivors"):
        with_bins.loop.execute()
    reasons = {reason for _, phase, reason in with_bins.failures() if phase == "secagg-agree"}
    assert len(reasons) == 1
    assert "sites dropped out, and the patients left allow" in reasons.pop()
