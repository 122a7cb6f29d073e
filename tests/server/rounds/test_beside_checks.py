"""What sites send beside their models lies within what the job lets them do."""

import numpy as np
import pytest

from server.rounds.beside_checks import BesideChecks
from shared.errors import RunError
from shared.networks.build import build_model
from shared.strategies.wire import Wire
from shared.wire.messages import MessageError

TWO_EPOCHS = {"strategy_name": "fednova", "training_batch_size": 10, "training_local_epochs": 2}
STEPS = {"strategy_name": "fednova", "training_local_epochs": None, "training_local_steps": 7}


@pytest.mark.parametrize(
    ("changes", "value", "is_fine"),
    [
        (TWO_EPOCHS, 20, True),
        (TWO_EPOCHS, 22, True),  # of 100 images, which may be 110
        (TWO_EPOCHS, 23, False),
        (TWO_EPOCHS, np.nan, False),
        (STEPS | {"training_batch_size": 10}, 7, True),
        (STEPS | {"training_batch_size": 10}, 11, True),  # rounded to a whole pass
        (STEPS | {"training_batch_size": 10}, 19, False),
        ({"strategy_name": "afl"}, 0.5, True),
        ({"strategy_name": "afl"}, -0.5, False),
        ({"strategy_name": "qfedavg"}, 1e13, False),
        ({"strategy_name": "scaffold"}, -1e13, True),  # a number like those of a model
        ({"strategy_name": "fedavg"}, -1e13, True),
    ],
)
def test_a_number_beside_the_model_is_held_against_the_job(tiny_job, changes, value, is_fine):
    job = tiny_job(**changes)
    wire = Wire.of(build_model(job), job.strategy)
    vector = np.zeros(wire.layout.size, np.float32)
    vector[-1] = value
    checks = BesideChecks(job, wire)
    if is_fine:
        checks.check_update(vector, 100)
        checks.check_mean(vector, 100)
        return
    with pytest.raises(MessageError, match="which is between"):
        checks.check_update(vector, 100)
    with pytest.raises(RunError, match="the sites of a round together"):
        checks.check_mean(vector, 100)
