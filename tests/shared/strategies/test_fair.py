"""q-FedAvg and AFL against their papers, where the answers are known; whose turn it is under 'cyclic'."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.runs.folder import RunFolder
from shared.strategies.cyclic import Cyclic
from shared.strategies.fair import AFL, SCALE, QFedAvg
from shared.strategies.options import StrategyOptions
from shared.strategies.vectors import MODEL
from shared.wire.packed_model import Entry, Layout
from simulate.session.session import Hospitals, execute, start
from tests.jobs import make_job
from tests.shared.strategies.site import SIZE, Site

LAYOUT = Layout((Entry("w", (SIZE,)),), SIZE)
EYE = np.eye(SIZE)


def rounds_of(options: StrategyOptions, sites: list[Site], count: int, start: np.ndarray) -> np.ndarray:
    """Return the model after some rounds of all sites, each of which counts as much."""
    half, kept = options.site(LAYOUT, frozenset()), [{} for _ in sites]
    sent = {MODEL: start.astype(np.float32), SCALE: np.zeros(1, np.float32)}
    for _ in range(count):
        answers = []
        for name, site in enumerate(sites):
            answer, kept[name] = half.round(site, sent, kept[name])
            answers.append(answer)
        mean = {key: np.mean([answer[key] for answer in answers], axis=0) for key in sent}
        sent, _ = options.conclude(mean, sent, {}, 1.0)
        sent = {key: value.astype(np.float32) for key, value in sent.items()}
    return sent[MODEL]


@given(st.floats(0.01, 0.2), st.integers(1, 4), st.floats(0, 3))
def test_qfedavg_is_algorithm_2(rate, count, q):
    sites = [Site.drawn(seed, rate, count) for seed in (1, 2)]
    w, first = np.ones(SIZE), np.ones(SIZE)
    for _ in range(3):
        deltas, scales = [], []
        for site in sites:
            own = w.copy()
            for _ in range(count):
                own -= rate * site.gradient(own)
            loss, step = site.loss(w), (w - own) / rate
            deltas.append(loss**q * step)
            scales.append(q * loss ** (q - 1) * step @ step + loss**q / rate)
        w = w - sum(deltas) / sum(scales)
    np.testing.assert_allclose(
        rounds_of(QFedAvg(name="qfedavg", q=q), sites, 3, first), w, rtol=1e-3, atol=1e-4
    )


def test_afl_finds_the_model_that_is_best_where_it_is_worst():
    """The larger of ‖w‖²/2 and 4 ‖w - t‖²/2 is least at 2/3 t, where both are equal; their mean at 4/5 t."""
    t = np.array([1.0, -2.0, 0.5, 3.0])
    sites = [Site(EYE, np.zeros(SIZE), 0.02, 1), Site(2 * EYE, 2 * t, 0.02, 1)]
    fair = rounds_of(AFL(name="afl", ascent=0.02), sites, 1500, np.zeros(SIZE))
    np.testing.assert_allclose(fair, 2 / 3 * t, atol=0.02)
    plain = rounds_of(AFL(name="afl", ascent=0.0), sites, 1500, np.zeros(SIZE))
    np.testing.assert_allclose(plain, 4 / 5 * t, atol=0.02)


def test_every_site_has_its_turn_once_each_time_around():
    sites = ["a", "b", "c"]
    by_name, drawn = Cyclic(name="cyclic", min_sites=1), Cyclic(name="cyclic", min_sites=1, order="drawn")
    named = [site for round_ in range(1, 8) for site in by_name.turn(sites, round_, 5)]
    assert named == ["a", "b", "c", "a", "b", "c", "a"]
    turns = [site for round_ in range(1, 31) for site in drawn.turn(sites, round_, 5)]
    assert all(sorted(turns[begin : begin + 3]) == sites for begin in range(0, 30, 3))
    assert turns[:3] * 10 != turns


@pytest.fixture(scope="module")
def went_around(tiny_data: Path, tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    from rich.console import Console

    once = {"training_local_epochs": None, "training_local_steps": 1}
    job = make_job(strategy_name="cyclic", **once)
    run = start(job, Hospitals(data=tiny_data), tmp_path_factory.mktemp("cyclic"), "cpu", baselines=False)
    execute(run, "in-process", Console(quiet=True))
    return run


def test_under_cyclic_one_site_trains_and_all_judge(went_around: RunFolder):
    rows = [line.split(",") for line in (went_around.path / "sites.csv").read_text().splitlines()]
    round_, site, phase = (rows[0].index(name) for name in ("round", "site", "phase"))
    trained = {row[round_]: row[site] for row in rows[1:] if row[phase] == "train"}
    assert trained == {"1": "alpha", "2": "beta", "3": "delta"}
    assert {row[site] for row in rows[1:] if row[phase] == "val"} == {"alpha", "beta", "delta", "gamma"}
