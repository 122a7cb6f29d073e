"""Every strategy makes of a sum behind masks what it makes of updates in the open, or refuses masks."""

import numpy as np
import pytest
from flwr.app import ConfigRecord

from shared.errors import JobError
from shared.job.schema import JobSpec
from shared.privacy.secagg.fixed_point import Codec
from shared.strategies import STRATEGIES
from shared.strategies.vectors import MODEL
from shared.wire.messages import VECTOR, vector_record
from shared.wire.packed_model import BESIDE, Entry, Layout
from simulate.session.grid import LocalGrid
from tests.jobs import make_job
from tests.shared.strategies.site import SIZE, Site
from tests.shared.strategies.test_strategies import NoWorkers, answer

MODEL_LAYOUT = Layout((Entry("w", (SIZE,)),), SIZE)
WEIGHTS = {"a": 3, "b": 5, "c": 2, "d": 4}
LOOK_AT_SINGLE_UPDATES = {
    "fedmedian",
    "fedtrimmedavg",
    "krum",
    "multikrum",
    "bulyan",
    "normbound",
    "rfa",
    "flame",
}
ONE_SITE_A_ROUND = {"cyclic", "swarm"}


@pytest.mark.parametrize("name", sorted(STRATEGIES.keys() - LOOK_AT_SINGLE_UPDATES - ONE_SITE_A_ROUND))
def test_a_sum_behind_masks_gives_the_model_that_updates_in_the_open_give(name: str) -> None:
    sites = {"strategy_min_sites": 3} | ({"strategy_buffer": 3} if name == "fedbuff" else {})
    job = make_job(strategy_name=name, privacy_secure_aggregation=True, **sites)
    found = after_rounds(job, masked=True)
    assert np.abs(found).max() > 0.01
    np.testing.assert_allclose(found, after_rounds(job, masked=False), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", sorted(LOOK_AT_SINGLE_UPDATES | ONE_SITE_A_ROUND))
def test_masks_are_refused_where_single_updates_are_needed(name: str) -> None:
    with pytest.raises(JobError, match="secure_aggregation"):
        make_job(strategy_name=name, privacy_secure_aggregation=True)


def after_rounds(job: JobSpec, *, masked: bool) -> np.ndarray:
    """Return the model after three rounds of four sites with a least-squares problem each."""
    options = job.strategy
    beside = dict(options.sends(MODEL_LAYOUT))
    entries = (Entry(f"{BESIDE}{name}", (size,)) for name, size in beside.items())
    layout = Layout((*MODEL_LAYOUT.entries, *entries), SIZE)
    centre, half = options.centre(layout), options.site(MODEL_LAYOUT, frozenset())
    sent = {MODEL: np.zeros(SIZE, np.float32)} | {key: np.zeros(n, np.float32) for key, n in beside.items()}
    kept = {key: np.zeros(n, np.float32) for key, n in options.remembers(MODEL_LAYOUT).items()}
    at_sites: dict[str, dict[str, np.ndarray]] = {name: {} for name in WEIGHTS}
    for round_ in range(1, 4):
        base, updates = np.concatenate(list(sent.values())), []
        for number, (name, weight) in enumerate(WEIGHTS.items()):
            site = Site.drawn(number, 0.05, 2 + number)
            site.left = 3 - round_
            update, at_sites[name] = half.round(site, sent, at_sites[name])
            updates.append((np.concatenate([update[key] for key in sent]).astype(np.float32), weight))
        if masked:
            codec = Codec(len(updates))
            total = sum(codec.encode(vector, weight, 1.0) for vector, weight in updates)
            updates = [(codec.decode(total).vector, 1)]
        grid = LocalGrid(NoWorkers(), list(WEIGHTS))
        list(centre.configure_train(round_, vector_record(base), ConfigRecord(), grid))
        answers = [answer(vector, weight, node) for node, (vector, weight) in enumerate(updates)]
        arrays, _ = centre.aggregate_train(round_, answers)
        parts = np.split(arrays[VECTOR].numpy(), np.cumsum([part.size for part in sent.values()])[:-1])
        sent, kept = options.conclude(dict(zip(sent, parts, strict=True)), sent, kept, 1.0)
    return sent[MODEL]
