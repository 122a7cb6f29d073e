"""A curious coordinator that asks one hospital everything it may, over many jobs and rounds.

Every request is valid and every job approved. What it gets is put together: no count below the threshold, no
membership, no pixel, no update of a few patients may come of it.
"""

import csv
import json
import re
from collections.abc import Iterator

import numpy as np
import pytest
import torch

from client.data.manifest.rows import Record
from client.data.manifest.splits import CohortKey, Split
from shared.job.schema import JobSpec, parse_job
from shared.metrics.summed_states import states_of
from shared.networks.build import build_model
from shared.tasks import make_task
from shared.wire import messages
from shared.wire.packed_model import Layout

ASKED, MEMBERS, LEAST = 200, 100, 10
IDENTIFIERS = [f"{n:06d}" for n in np.random.default_rng(11).choice(10**6, ASKED, replace=False)]
PRIVATE = {"privacy_mechanism": "dp-sgd", "privacy_epsilon": 1.0, "strategy_weight": "equal"}
KINDS = {
    "plain": {},
    "private": PRIVATE,
    "secure": {"privacy_secure_aggregation": True, "strategy_min_sites": 3},
}
SHARED = "share_site_metrics = true\n"


@pytest.fixture
def hospital(make_site):
    """A hospital with the default policy, but that it approves everything and shows its own metrics."""
    return make_site(f'approval = "automatic"\n{SHARED}', opened=False, patients=IDENTIFIERS[:MEMBERS])


def jobs(job_of, kind: str, count: int) -> Iterator[JobSpec]:
    for number in range(count):
        yield job_of(
            **KINDS[kind],
            job_seed=number,
            data_fold=number % 6 or None,
            training_batch_size=32,
            task_classes=[["no", "yes"], ["yes", "no"]][number % 2],
        )


def everything(site, job: JobSpec) -> dict[str, list[int]]:
    """Ask a job's description, trainings and evaluations, twice each; return every count in the answers."""
    found: dict[str, list[int]] = {}

    def note(name: str, *counts: int) -> None:
        found.setdefault(name, []).extend(int(count) for count in counts)

    for _ in range(2):
        reply = site.ask(f"query.{messages.DESCRIBE}", messages.describe_request(job.canonical()))
        told = messages.read_description(reply.content)
        for split, count in told.patients.items():
            note(f"described {split}", count, told.examples[split])
    layout = Layout.of(build_model(job))
    for _ in range(2):
        reply = site.send("train", job)
        if not reply.has_error():
            update = messages.read_update(reply.content, layout.size)
            note("trained", update.examples)
            assert job.privacy.mechanism != "dp-sgd" or np.isnan(update.loss)
        for split in ("val", "test"):
            reply = site.send("evaluate", job, split=split)
            if reply.has_error():
                continue
            evaluation = messages.read_evaluation(reply.content)
            metrics = make_task(job).metrics()
            metrics.merge(evaluation.states)
            note(f"evaluated {split}", evaluation.examples)
            for _, _, state in states_of(metrics.metrics):
                if not state.is_floating_point():
                    note(f"states {split}", *state.flatten().tolist())
    return found


@pytest.mark.parametrize("kind", KINDS)
def test_no_count_is_of_fewer_patients_than_the_threshold(hospital, job_of, kind):
    answers = [everything(hospital, job) for job in jobs(job_of, kind, 6)]
    told = {name for one in answers for name in one}
    assert {"plain": "states test", "private": "trained", "secure": "described train"}[kind] in told
    assert kind != "secure" or not [name for name in told if name.startswith(("trained", "states"))]
    for one in answers:
        for name, counts in one.items():
            if kind == "private":
                assert set(counts) <= {0, 1}, name  # it takes part
            elif name.startswith("states"):
                assert all(count == 0 or count >= LEAST for count in counts), name
            else:
                assert all(count % 10 == 0 for count in counts), name


def test_membership_is_guessed_no_better_than_by_chance(hospital, job_of):
    """Whoever has the code but not the key adds up where a patient would be counted."""
    told = [(job.data.fold, everything(hospital, job)) for job in jobs(job_of, "plain", 12)]
    for key in (CohortKey(bytes(32)), CohortKey.drawn(0), CohortKey.drawn(1)):
        suspicion = np.zeros(ASKED)
        for fold, one in told:
            records = [Record(row, name, ()) for row, name in enumerate(IDENTIFIERS)]
            for at, side in enumerate(Split(key).sides(records, fold)):
                suspicion[at] += sum(sum(counts) for name, counts in one.items() if name.endswith(side))
        guesses = suspicion > np.median(suspicion)
        right = int((guesses == (np.arange(ASKED) < MEMBERS)).sum())
        assert abs(right - ASKED / 2) < 2.6 * (ASKED / 4) ** 0.5  # 99 % of guessing


# Pixels


def one_pixel(job: JobSpec, pixel: int) -> np.ndarray:
    """Return a made model whose score grows with one pixel of the first 8 x 8: by attention to its token."""
    network = build_model(job)
    state = dict(network.named_parameters())

    def part(text: str) -> torch.Tensor:
        return next(value for key, value in state.items() if text in key)

    with torch.no_grad():
        for key, value in state.items():
            value.fill_(1.0 if "norm" in key and key.endswith("weight") else 0.0)
        part("patch_embeddings.weight").view(64, 64)[0, pixel] = 1.0
        positions = part("position_embeddings").view(-1, 64)
        for token in range(positions.shape[0]):
            positions[token, 1 + token] = 50.0
        part("cls_token").view(-1)[20] = 50.0
        query, bias = part("qkv.weight"), part("qkv.bias")
        bias[0], query[64, 1], query[128, 0] = 40.0, 1.0, 1.0
        part("out_proj.weight")[30, 0] = 6.0
        head = {key: value for key, value in state.items() if "classification_head" in key}
        next(value for key, value in head.items() if key.endswith("weight"))[1, 30] = 120.0
        next(value for key, value in head.items() if key.endswith("bias"))[1] = 20.0
    return Layout.of(network).pack(network)


def test_no_pixel_of_a_patient_who_joins_between_two_jobs(make_site, job_of):
    """Two jobs, made models whose score is a pixel; who joined between them is in no answer."""
    pixels, sides = 8, ["val"] * 160 + ["train"] * 20
    hospital = make_site(f'approval = "automatic"\n{SHARED}', sides, opened=False)
    vit = {"name": "vit", "patch": 8, "features": 64, "layers": 1, "heads": 1}

    def read(seed: int) -> list[bytes]:
        asked = job_of(job_rounds=pixels, job_seed=seed, data_intensity="minmax", evaluation_bins=1000)
        job = parse_job(json.loads(asked.canonical()) | {"model": vit}, "made")
        replies = [
            hospital.send("evaluate", job, 1 + pixel, "val", vector=one_pixel(job, pixel))
            for pixel in range(pixels)
        ]
        assert not [reply.error.reason for reply in replies if reply.has_error()]
        return [messages.read_evaluation(reply.content).states.tobytes() for reply in replies]

    assert len(set(read(1))) > 1  # something is told
    hospital.rewrite([f"p{number}" for number in range(len(sides) + 5)])  # five more validate
    joined = read(2)
    hospital.rewrite([f"p{number}" for number in range(len(sides))])
    assert read(2) == joined


# Updates


def test_no_update_is_of_fewer_patients_whatever_a_round_is(hospital, job_of):
    served = 0
    lengths = [
        {"training_batch_size": batch, "training_local_steps": n} for batch in (1, 4, 16) for n in (1, 3, 12)
    ]
    for seed, length in enumerate(lengths):
        job = job_of(**length, job_seed=seed)
        refused = hospital.train(job)
        taken = length["training_batch_size"] * length["training_local_steps"]
        assert ("policy.min_patients_in_update" in refused) == (taken < LEAST), length
        served += not refused
    assert 0 < served < len(lengths)


def test_the_same_question_has_the_same_answer_and_then_none(hospital, job_of):
    job = job_of(training_batch_size=16)
    size = Layout.of(build_model(job)).size
    replies = [hospital.send("train", job) for _ in range(3)]
    first, second = (messages.read_update(reply.content, size).vector for reply in replies[:2])
    assert first.tobytes() == second.tobytes()
    assert "job.requests" in replies[2].error.reason


# Errors


@pytest.mark.parametrize("column", ["label", "second"])
def test_an_error_does_not_say_how_many_patients_nor_which(make_site, job_of, column):
    """A job names columns and classes: what an error counts would be counted of any of them."""
    site = make_site(f'approval = "automatic"\n{SHARED}', opened=False, patients=IDENTIFIERS[:MEMBERS])
    path = site.folder / "manifest.csv"
    with path.open(newline="") as file:
        rows = [row | {"second": row["image"]} for row in csv.DictReader(file)]
    asked = job_of(data_images=["image", "second"], data_channels=2) if column == "second" else job_of()
    said = set()
    for odd in ([3], [40], [97], [5, 6], list(range(20, 31))):
        changed = [
            row | ({column: "rare" if column == "label" else ""} if n in odd else {})
            for n, row in enumerate(rows)
        ]
        with path.open("w", newline="") as file:
            writer = csv.DictWriter(file, changed[0].keys())
            writer.writeheader()
            writer.writerows(changed)
        site.restart()
        said.add(site.describe(asked))
    assert len({re.sub(r"\s+", " ", text) for text in said if text}) == 1
    assert not re.search(r"\d", said.pop())
