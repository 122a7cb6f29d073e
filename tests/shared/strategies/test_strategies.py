"""The strategies against the formulas of their papers, across a restart, and in any order of arrival."""

import numpy as np
import pytest
from flwr.app import ConfigRecord, Message, MetricRecord, RecordDict
from torch import nn

from shared.job.schema import load_job
from shared.strategies import STRATEGIES
from shared.strategies.flower_halves import WEIGHT
from shared.wire.messages import ARRAYS, METRICS, VECTOR, vector_record
from shared.wire.packed_model import Layout
from simulate.session.grid import LocalGrid
from tests.jobs import NEEDED_BY

LAYOUT = Layout.of(nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2)))
RNG = np.random.default_rng(0)
START = RNG.normal(size=LAYOUT.size).astype(np.float32)
UPDATES = [
    [(RNG.normal(size=LAYOUT.size).astype(np.float32), weight) for weight in (1, 5, 30, 7)] for _ in range(3)
]


class NoWorkers:
    size = 1


@pytest.fixture
def strategy(quickstart):
    def make(name, **options):
        changes = {"strategy.name": name, "strategy.min_sites": 3, **NEEDED_BY.get(name, {})}
        job = load_job(quickstart, changes)
        return job.strategy.model_copy(update=options).centre(LAYOUT)

    return make


def answer(vector, weight, node):
    content = RecordDict(
        {ARRAYS: vector_record(vector), METRICS: MetricRecord({WEIGHT: weight, "loss": 1.0 * weight})}
    )
    return Message(content=content, dst_node_id=node, message_type="train")


def step(strategy, vector, round_, updates):
    grid = LocalGrid(NoWorkers(), ["a", "b", "c", "d"])
    asked = list(strategy.configure_train(round_, vector_record(vector), ConfigRecord(), grid))
    assert len(asked) == 4
    arrays, metrics = strategy.aggregate_train(round_, [answer(v, w, i) for i, (v, w) in enumerate(updates)])
    assert isinstance(metrics["loss"], float)
    return arrays[VECTOR].numpy()


@pytest.mark.parametrize("name", STRATEGIES)
def test_every_strategy_returns_a_float32_model(strategy, name):
    vector = step(strategy(name), START, 1, UPDATES[0])
    assert vector.dtype == np.float32
    assert vector.shape == START.shape
    assert np.isfinite(vector).all()


@pytest.mark.parametrize("name", STRATEGIES)
def test_a_restart_between_rounds_changes_no_bit(strategy, name):
    running, vector = strategy(name), START
    for round_, updates in enumerate(UPDATES, 1):
        vector = step(running, vector, round_, updates)
    restarted, again, state = None, START, {}
    for round_, updates in enumerate(UPDATES, 1):
        restarted = strategy(name)
        restarted.restore(state)
        again = step(restarted, again, round_, updates)
        state = {key: value.copy() for key, value in restarted.state().items()}
    assert vector.tobytes() == again.tobytes()


@pytest.mark.parametrize(
    "name", [name for name, options in STRATEGIES.items() if not options.compares_updates]
)
def test_the_order_of_arrival_changes_no_bit(strategy, name):
    assert strategy(name).streaming
    forwards = step(strategy(name), START, 1, UPDATES[0])
    backwards = step(strategy(name), START, 1, UPDATES[0][::-1])
    assert forwards.tobytes() == backwards.tobytes()


def mean(updates):
    weights = np.array([weight for _, weight in updates], dtype=np.float64)
    return np.average(np.stack([vector for vector, _ in updates]).astype(np.float64), axis=0, weights=weights)


def test_fedavg_is_the_weighted_mean(strategy):
    np.testing.assert_allclose(step(strategy("fedavg"), START, 1, UPDATES[0]), mean(UPDATES[0]), rtol=1e-6)


def test_fedavgm_follows_its_formula(strategy):
    fedavgm = strategy("fedavgm", server_momentum=0.5, server_learning_rate=0.7)
    vector, momentum = START.astype(np.float64), np.zeros_like(START, dtype=np.float64)
    found = START
    for round_, updates in enumerate(UPDATES, 1):
        momentum = 0.5 * momentum + (vector - mean(updates))
        vector = vector - 0.7 * momentum
        vector[LAYOUT.parameters :] = mean(updates)[LAYOUT.parameters :]
        found = step(fedavgm, found, round_, updates)
        np.testing.assert_allclose(found, vector, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("name", "options"),
    [("fedadam", {"beta_1": 0.8, "beta_2": 0.9, "bias_correction": False}), ("fedadagrad", {"beta_1": 0.8})],
)
def test_adaptive_servers_are_algorithm_2(strategy, name, options):
    running = strategy(name, eta=0.3, tau=1e-2, **options)
    vector, m, v, found = START.astype(np.float64), 0.0, 0.0, START
    for round_, updates in enumerate(UPDATES, 1):
        change = mean(updates) - vector
        m = 0.8 * m + 0.2 * change
        v = v + change**2 if name == "fedadagrad" else 0.9 * v + 0.1 * change**2
        vector = vector + 0.3 * m / (np.sqrt(v) + 1e-2)
        vector[LAYOUT.parameters :] = mean(updates)[LAYOUT.parameters :]
        found = step(running, found, round_, updates)
        trained = slice(LAYOUT.parameters)
        np.testing.assert_allclose(found[trained], vector[trained], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", ["fedadam", "fedyogi", "fedadagrad", "fedavgm"])
def test_batch_norm_statistics_take_their_plain_mean(strategy, name):
    """An optimiser's step on a running variance could make it negative."""
    found = step(strategy(name), START, 1, UPDATES[0])
    np.testing.assert_allclose(found[LAYOUT.parameters :], mean(UPDATES[0])[LAYOUT.parameters :], rtol=1e-6)


def test_median_and_krum_ignore_an_outlier(strategy):
    honest = [(START + np.float32(0.01 * i), 10) for i in range(3)]
    poisoned = [*honest, (START + 1e6, 10)]
    for name in ("fedmedian", "krum"):
        assert np.abs(step(strategy(name), START, 1, poisoned) - START).max() < 0.1


def test_norms_are_cut_down_to_the_median_and_long_updates_left_out(strategy):
    far = np.zeros(LAYOUT.size, np.float32)
    far[0] = 1  # of the updates that are 1, 2, 4 and 100 long, the last is left out: the median is 3
    sent = np.zeros(LAYOUT.size, np.float32)
    updates = [(length * far, weight) for length, weight in ((1, 1), (2, 2), (4, 1), (100, 9))]
    found = step(strategy("normbound", reject=3.0), sent, 1, updates)
    np.testing.assert_allclose(found, (1 * 1 + 2 * 2 + 3 * 1) / 4 * far, rtol=1e-6)


def test_batch_norm_statistics_are_not_cut_down(strategy):
    buffers = np.arange(LAYOUT.size) >= LAYOUT.parameters
    found = step(strategy("normbound", reject=1000.0), START, 1, UPDATES[0])
    np.testing.assert_allclose(found[buffers], mean(UPDATES[0])[buffers], rtol=1e-5)


def test_rfa_is_the_point_with_the_least_distances(strategy):
    """Where three updates lie on a line it is the middle one, whatever the ends are."""
    near = [(START + np.float32(shift), 1) for shift in (-1.0, 0.0, 500.0)]
    np.testing.assert_allclose(step(strategy("rfa", steps=200), START, 1, near), START, atol=1e-2)
    found = step(strategy("rfa", steps=300), START, 1, UPDATES[0])
    pulls = sum(
        weight * (vector - found) / np.linalg.norm(vector - found) for vector, weight in UPDATES[0]
    )  # the gradient of the sum of distances
    heaviest = np.argmax([weight for _, weight in UPDATES[0]])
    assert np.abs(pulls).max() < 0.05 or np.linalg.norm(found - UPDATES[0][heaviest][0]) < 0.1


def test_flame_takes_the_majority_that_points_one_way_cut_to_the_median_length(strategy):
    drawn = np.random.default_rng(0)
    sent, way = np.zeros(LAYOUT.size, np.float32), np.zeros(LAYOUT.size, np.float32)
    way[: LAYOUT.parameters] = 1
    honest = [way + drawn.normal(0, 1, way.size) * (way > 0) for _ in range(4)]
    honest[0] *= 10  # a loud one, which counts no more than the median one
    backwards = [-one for one in honest[1:]]
    updates = [(one.astype(np.float32), 1) for one in [*honest, *backwards]]
    median = np.median([np.linalg.norm(one) for one, _ in updates])
    expected = sum(one * min(1, median / np.linalg.norm(one)) for one in honest) / 4
    np.testing.assert_allclose(step(strategy("flame"), sent, 1, updates), expected, rtol=1e-4, atol=1e-6)
    agreed = [(np.full_like(way, -0.1), 1)] * 3  # the same, so nearer to each other than anybody else is
    np.testing.assert_allclose(step(strategy("flame"), sent, 1, [*updates[:4], *agreed]) > 0, expected > 0)
    nothing = [*updates[:4], (sent, 1)]  # an update of no direction
    assert np.isfinite(step(strategy("flame"), sent, 1, nothing)).all()
    for few in (updates[:1], updates[:2]):
        np.testing.assert_allclose(step(strategy("flame"), sent, 1, few) != 0, way != 0)


def test_bulyan_takes_what_is_near_the_median_of_those_that_krum_trusts(strategy):
    honest = [(START + np.float32(0.01 * number), 10) for number in range(6)]
    running = strategy("bulyan", malicious_sites=1)
    found = running.aggregate_train(
        1, [answer(v, w, i) for i, (v, w) in enumerate([*honest, (START + 1e6, 10)])]
    )
    assert np.abs(found[0][VECTOR].numpy() - START).max() < 0.06


def test_a_site_that_keeps_its_loss_does_not_hide_the_others(strategy):
    replies = [answer(vector, weight, node) for node, (vector, weight) in enumerate(UPDATES[0])]
    replies[1].content[METRICS]["loss"] = float("nan")
    _, metrics = strategy("fedavg").aggregate_train(1, replies)
    assert metrics["loss"] == pytest.approx((1 * 1 + 30 * 30 + 7 * 7) / 38)
