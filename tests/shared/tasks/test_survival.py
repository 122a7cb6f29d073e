"""What a job may say about survival, and its metrics: their sum over sites is that of the pooled patients."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.batch import Batch
from shared.errors import JobError
from shared.job.schema import JobSpec, parse_job
from shared.networks.build import build_model, models_of
from shared.tasks import make_task
from shared.tasks.survival.losses import cox_losses, hazard_losses, survival_at
from shared.tasks.survival.metrics import OBSERVED, RISK, TIME, SurvivalMetrics
from shared.tasks.survival.options import Survival
from shared.tasks.survival.resampled import pairs_of_draws
from tests.jobs import make_job

EDGES = torch.tensor([1.0, 2.0, 4.0], dtype=torch.float64)


def job(**options: Any) -> JobSpec:
    return make_job(task_name="survival", **options)


def metrics_of(spec: JobSpec) -> SurvivalMetrics:
    assert isinstance(spec.task, Survival)
    return SurvivalMetrics(spec, spec.task, None if spec.task.loss == "cox" else EDGES)


HAZARD = {"task_intervals": EDGES.tolist()}
COX = {"task_loss": "cox", "task_intervals": None}


def patients(count: int, outputs: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return logits and events of patients, with ties of time and of risk."""
    generator = np.random.default_rng(seed)
    times = generator.integers(1, 8, count) / 2
    events = np.stack([times, generator.random(count) < 0.6], axis=1)
    logits = np.round(generator.normal(size=(count, outputs)), 1)
    return torch.from_numpy(logits).float(), torch.from_numpy(events).float()


def updated(spec: JobSpec, parts: Sequence[tuple[torch.Tensor, torch.Tensor]], name: str) -> SurvivalMetrics:
    """Return the metrics of one site whose patients came in these batches."""
    metrics, number = metrics_of(spec), 0
    for logits, event in parts:
        names = [f"{name}-{number + i:03d}" for i in range(len(event))]
        number += len(event)
        losses = torch.zeros(len(event))
        if spec.task.loss == "hazard":  # type: ignore[attr-defined]
            losses = hazard_losses(logits, event[:, 0], event[:, 1], EDGES.float())
        metrics.update({"logits": logits}, Batch({"event": event}, names), losses)
    return metrics


@pytest.mark.parametrize("options", [HAZARD, COX], ids=["hazard", "cox"])
@settings(max_examples=20, deadline=None)
@given(sizes=st.lists(st.integers(1, 12), min_size=1, max_size=4), seed=st.integers(0, 1000))
def test_the_sum_of_the_sites_is_the_metric_over_the_pairs_within_sites(
    options: Mapping[str, Any], sizes: list[int], seed: int
) -> None:
    spec = job(**options)
    sites = [patients(size, spec.task.outputs, seed + i) for i, size in enumerate(sizes)]  # type: ignore[attr-defined]
    merged = metrics_of(spec)
    for number, site in enumerate(sites):
        merged.merge(updated(spec, [site], str(number)).pack())
    found = merged.compute()
    right = among = 0.0
    for logits, event in sites:
        own_right, own_among = plain_pairs(logits, event)
        right, among = right + own_right, among + own_among
    assert found["concordance"] == pytest.approx(right / among if among else np.nan, abs=1e-6, nan_ok=True)
    if options is HAZARD:
        logits, event = (torch.cat(parts) for parts in zip(*sites, strict=True))
        losses = hazard_losses(logits, event[:, 0], event[:, 1], EDGES.float())
        assert found["loss"] == pytest.approx(losses.double().mean().item(), abs=1e-6)
        assert found["integrated_brier"] == pytest.approx(plain_brier(logits, event), abs=1e-6, nan_ok=True)
    else:
        losses = [cox_losses(logits[:, 0].double(), *event.double().T, "efron") for logits, event in sites]
        events = torch.cat([event for _, event in sites])[:, 1].sum().item()
        mean = sum(float(loss.sum()) for loss in losses) / events if events else np.nan
        assert found["loss"] == pytest.approx(mean, abs=1e-6, nan_ok=True)


def plain_pairs(logits: torch.Tensor, event: torch.Tensor) -> tuple[float, float]:
    """Return the concordant and the comparable pairs of a site, one pair after another."""
    if logits.shape[1] == 1:
        risks = logits[:, 0].tolist()
    else:
        survival = survival_at(logits).numpy()
        ends = [0.0, *EDGES.tolist()]
        curve = np.concatenate([np.ones((len(survival), 1)), survival], axis=1)
        risks = (-np.trapezoid(curve, ends, axis=1)).round(12).tolist()
    right = among = 0.0
    for i, (first, observed) in enumerate(event.tolist()):
        for j, (second, other) in enumerate(event.tolist()):
            if observed and (first < second or (first == second and not other)):
                among += 1
                right += 1.0 if risks[i] > risks[j] else 0.5 if risks[i] == risks[j] else 0.0
    return right, among


def plain_brier(logits: torch.Tensor, event: torch.Tensor) -> float:
    survival, total, length, start = survival_at(logits), 0.0, 0.0, 0.0
    for k, edge in enumerate(EDGES.tolist()):
        errors = [
            (float(time >= edge) - survival[i, k].item()) ** 2
            for i, (time, observed) in enumerate(event.tolist())
            if time >= edge or observed
        ]
        if errors:
            total, length = total + np.mean(errors) * (edge - start), length + edge - start
        start = edge
    return total / length if length else np.nan


def test_batches_do_not_matter_to_the_pairs() -> None:
    spec = job(**HAZARD)
    logits, event = patients(11, 3, 1)
    whole = updated(spec, [(logits, event)], "a")
    parts = updated(spec, [(logits[:4], event[:4]), (logits[4:], event[4:])], "a")
    assert whole.pack().tolist() == pytest.approx(parts.pack().tolist(), abs=1e-12)


def test_settled_states_are_those_that_are_packed_before() -> None:
    metrics = updated(job(**COX), [patients(9, 1, 2)], "a")
    before = metrics.pack()
    metrics.settle()
    assert metrics.pack().tolist() == before.tolist()


def test_a_patient_with_several_rows_is_one_patient_with_their_mean_risk() -> None:
    spec = job(**COX)
    metrics = metrics_of(spec)
    event = torch.tensor([[1.0, 1], [1.0, 1], [2.0, 0]])
    batch = Batch({"event": event}, ["a", "a", "b"])
    metrics.update({"logits": torch.tensor([[3.0], [-2.0], [0.0]])}, batch, torch.zeros(3))
    assert metrics.pack()[2:4].tolist() == [2.0, 2.0]  # 0.5 is above 0: one pair, of both of its patients


def test_no_number_is_beyond_what_was_said_of_it() -> None:
    for options in (HAZARD, COX):
        metrics = updated(job(**options), [patients(40, 3 if options is HAZARD else 1, 3)], "a")
        assert (np.abs(metrics.pack()) <= metrics.limits(40)).all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"task_columns": ["age", "age"]}, "columns: a name appears twice"),
        ({"task_columns": ["age", "time"]}, "columns: 'time' is what is to be predicted"),
        ({"task_categories": {"sex": ["f", "m"]}}, "categories: 'sex' is not among the columns"),
        ({"task_intervals": [2.0, 1.0]}, "the ends must ascend"),
        ({"task_intervals": None}, "give the end of each, or a horizon"),
        ({"task_horizon": 5.0}, "give the end of each, or a horizon"),
        ({"task_loss": "cox"}, "'cox' has none"),
        ({"task_mean_over": "patients"}, "mean_over: is of 'cox', and the loss is 'hazard'"),
        ({"task_ranking": 0.1}, "ranking: is of 'deephit', and the loss is 'hazard'"),
        (
            {
                "task_loss": "deephit",
                "task_ranking": 0.1,
                "task_scaling": {"age": [60.0, 12.0], "grade": [2.0, 1.0]},
                "privacy_mechanism": "dp-sgd",
                "privacy_epsilon": 5.0,
            },
            "compares the patients of a batch under the loss 'deephit' with a ranking",
        ),
        ({"task_scaling": {"age": [60.0, 12.0]}}, "scaling: 'grade' is missing"),
        ({"task_scaling": {"age": [60.0, 0.0], "grade": [1.0, 1.0]}}, "of 'age' must be above 0"),
        ({"data_size": [32, 32]}, r"\[data\] size: is about images"),
        ({"model": {"name": "unet"}}, "'unet' is not for survival of a table"),
        (
            {"privacy_mechanism": "site-level", "privacy_noise_multiplier": 1.0, "strategy_weight": "equal"},
            r"'site-level' does not protect .* mean and spread.*give \[task\] scaling",
        ),
        ({"task_image": True}, r"\[data\] size: is missing"),
        (
            {
                **COX,
                "task_scaling": {"age": [60.0, 12.0], "grade": [2.0, 1.0]},
                "privacy_mechanism": "dp-sgd",
                "privacy_epsilon": 5.0,
            },
            "compares the patients of a batch",
        ),
    ],
)
def test_what_a_survival_job_can_not_say(options: dict[str, Any], message: str) -> None:
    with pytest.raises(JobError, match=message):
        job(**options)


def test_beside_an_image_a_third_network_brings_both_together() -> None:
    spec = job(
        task_image=True,
        task_scaling={"age": [60.0, 10.0], "grade": [2.0, 0.5]},
        task_features=8,
        data_size=[16, 16],
        model={
            "image": {"name": "cnn", "channels": [4]},
            "record": {"name": "mlp", "hidden": [3]},
            "fusion": {"name": "gated"},
        },
    )
    task, models = make_task(spec), models_of(build_model(spec, seed=1))
    assert set(models) == {"image", "record", "fusion"}
    values = {
        "image": torch.randn(2, 1, 16, 16),
        "record": torch.tensor([[50.0, 2.0], [70.0, float("nan")]]),
        "event": torch.tensor([[20.0, 1.0], [50.0, 0.0]]),
    }
    batch = task.prepare(Batch(values, ["a", "b"]), 0)
    assert batch["record"].tolist() == [[-1.0, 0.0], [1.0, 0.0]]
    assert batch["lacking"].tolist() == [[0.0, 0.0], [0.0, 0.0]]
    found = task.predict(models, batch)["logits"]
    features = models["image"](batch["image"]), models["record"](batch["record"])
    torch.testing.assert_close(found, models["fusion"](*features, batch["lacking"]))
    [phase] = task.phases()
    phase.loss(models, batch).mean().backward()
    assert all(one.grad is not None for network in models.values() for one in network.parameters())


@pytest.mark.parametrize("ranking", [0.0, 0.5])
def test_deephit_trains_and_says_a_curve_that_falls(ranking: float) -> None:
    spec = job(
        task_loss="deephit", task_ranking=ranking, task_scaling={"age": [60.0, 10.0], "grade": [2.0, 0.5]}
    )
    task, models = make_task(spec), models_of(build_model(spec, seed=1))
    values = {
        "record": torch.tensor([[50.0, 2.0], [70.0, 3.0]]),
        "event": torch.tensor([[20.0, 1], [50.0, 0]]),
    }
    batch = task.prepare(Batch(values, ["a", "b"]), 0)
    [phase] = task.phases()
    loss = phase.loss(models, batch)
    assert loss.shape == (() if ranking else (2,))
    predicted = task.predict(models, batch)
    likelihood = task.sample_losses(models, batch, predicted).mean()
    assert (loss.mean() > likelihood) == bool(ranking)
    for answer in task.answers(batch, predicted) or []:
        chances = [float(answer.cells[f"survival/{edge}"]) for edge in (12, 36, 60)]
        assert 1 > chances[0] > chances[1] > chances[2] > 0
        assert answer.cells["risk"] == pytest.approx(1 - chances[2])


def three_sites() -> list[Batch]:
    """Return sites whose hazards, follow-up and numbers of patients differ."""
    draw, sites = np.random.default_rng(7), []
    for count, hazard, censored in ((40, 0.3, 0.35), (25, 0.8, 0.6), (15, 0.1, 0.2)):
        columns = draw.normal(size=(count, 2)).round(2)
        times = draw.exponential(1 / (hazard * np.exp(columns @ [0.8, -0.5]))).round(1) + 0.1
        events = np.stack([times.round(1), draw.random(count) > censored], axis=1)
        values = {"record": torch.from_numpy(columns).float(), "event": torch.from_numpy(events).float()}
        sites.append(Batch(values, [""] * count))
    return sites


@pytest.mark.parametrize(
    ("ties", "fitted"), [("efron", [0.54258467, -0.30465002]), ("breslow", [0.53830883, -0.30020297])]
)
def test_a_federation_of_whole_sites_has_the_coefficients_of_a_stratified_cox_model(
    ties: str, fitted: list[float]
) -> None:
    """Those of statsmodels 0.15 (PHReg with strata, both) and lifelines 0.30.3 (CoxPHFitter, Efron)."""
    scaling = {"age": [0.0, 1.0], "grade": [0.0, 1.0]}
    options = {**COX, "task_ties": ties, "task_mean_over": "patients", "task_scaling": scaling}
    task = make_task(job(**options, model_hidden=[]))
    models, sites = models_of(build_model(task.job, seed=1)), three_sites()
    patients = sum(len(site) for site in sites)
    [phase] = task.phases()
    step = torch.optim.SGD(models["model"].parameters(), lr=2.0)
    for _ in range(
        200
    ):  # the mean of the sites' models after a step each is a step along their mean gradient
        step.zero_grad()
        for site in sites:
            (phase.loss(models, site) * (len(site) / patients)).backward()
        step.step()
    assert next(models["model"].parameters())[0].tolist() == pytest.approx(fitted, abs=1e-3)


def test_it_learns_from_images_alone() -> None:
    spec = job(task_image=True, task_columns=[], data_size=[16, 16], model={"name": "cnn", "channels": [4]})
    task, models = make_task(spec), models_of(build_model(spec, seed=1))
    batch = Batch({"image": torch.randn(2, 1, 16, 16)}, ["a", "b"])
    assert task.predict(models, task.prepare(batch, 0))["logits"].shape == (2, 3)
    assert spec.task.subject == "survival (time, event) from images"


def test_what_is_missing_is_the_mean_of_all_sites_and_can_be_told() -> None:
    spec = job(task_columns=["age", "sex"], task_categories={"sex": ["f", "m"]}, task_indicators=True)
    task = make_task(spec, {"columns": np.array([[4.0, 240.0, 14800.0]])})  # mean 60, deviation 10
    nan = float("nan")
    batch = Batch({"record": torch.tensor([[70.0, 1.0, 0.0], [nan, nan, nan]])}, ["a", "b"])
    assert task.prepare(batch, 0)["record"].tolist() == [[1.0, 1.0, 0.0, 0.0], [0.0, 0.0, 0.0, 1.0]]
    with pytest.raises(ValueError, match="'columns' of all sites is not known"):
        make_task(spec).prepare(batch, 0)


def test_a_job_without_images_needs_no_table_of_data() -> None:
    spec = job()
    assert parse_job(spec.model_dump(mode="json"), "again").digest() == spec.digest()


def small_hospitals(generator: np.random.Generator) -> list[list[np.ndarray]]:
    """Return what is known of eight patients each."""
    found = []
    for _ in range(5):
        risk = generator.normal(size=8)
        time, end = generator.exponential(np.exp(-risk)), generator.exponential(2, 8)
        found.append([risk + generator.normal(size=8), np.minimum(time, end), (time <= end).astype(float)])
    return found


def test_concordance_of_small_hospitals_spreads_as_with_other_patients():
    """Draws alone spread it by a third too much."""
    generator = np.random.default_rng(3)

    def drawn(own: list[list[np.ndarray]], draws: np.ndarray) -> np.ndarray:
        parts = zip(own, np.split(draws, 5, axis=1), strict=True)
        pairs = sum(pairs_of_draws(*site, counts) for site, counts in parts)
        return pairs[:, 0] / pairs[:, 1]

    true = np.std([drawn(small_hospitals(generator), np.ones((1, 40))) for _ in range(500)])
    found = []
    for _ in range(30):
        own = small_hospitals(generator)
        spread = drawn(own, generator.multinomial(40, np.full(40, 1 / 40), 200).astype(float)).std()
        tables = [dict(zip((RISK, TIME, OBSERVED), map(torch.from_numpy, site), strict=True)) for site in own]
        found.append((spread, spread * metrics_of(job(**COX)).spreads(tables)["concordance"]))
    by_draws, told = np.mean(found, axis=0)
    assert by_draws > 1.25 * true
    assert told == pytest.approx(true, rel=0.15)


def test_no_pair_has_no_spread_and_all_pairs_right_the_draws_own():
    one = [torch.tensor([values], dtype=torch.float64) for values in (0.0, 1.0, 1.0)]
    assert metrics_of(job(**COX)).spreads([dict(zip((RISK, TIME, OBSERVED), one, strict=True))]) == {}
    right = [torch.arange(6.0).flip(0), torch.arange(6.0), torch.ones(6)]
    tables = dict(zip((RISK, TIME, OBSERVED), right, strict=True))
    assert metrics_of(job(**COX)).spreads([tables]) == {"concordance": 1.0}
