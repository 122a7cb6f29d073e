"""Shadow models: trained as the audited one was, on other halves of the same patients."""

from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from client.membership.population import Chosen
from client.training.class_balance import ClassGroups
from client.training.loop import LocalTraining, place_model
from client.training.private_loop import PrivateTraining
from client.training.sample_order import SampleOrder
from shared.job.schema import JobSpec
from shared.networks.build import Files, build_model
from shared.privacy.randomness import SeededRandomness
from shared.seeds import seed_of
from shared.tasks import make_task
from shared.tasks.base import Statistics


def halves(patients: int, count: int, seed: int) -> Iterator[NDArray[np.bool_]]:
    """Yield random halves of the patients, (patients,), each followed by the other half.

    Every patient is then in exactly half of the shadow models (Carlini et al. 2022, section V).

    Args:
        patients: Their number.
        count: An even number of halves.
        seed: Of the draws.
    """
    for pair in range(count // 2):
        order = np.random.default_rng(seed_of(seed, "halves", pair)).permutation(patients)
        inside = order < patients // 2
        yield inside
        yield ~inside


def train_model(
    job: JobSpec,
    samples: Chosen,
    *,
    name: str,
    rounds: int,
    device: torch.device,
    statistics: Statistics,
    files: Files,
) -> nn.Module:
    """Train as a site does that is alone in its federation, from the job's own first model.

    Args:
        job: All settings; private training draws from the job's seed, as nothing of it leaves.
        samples: Images to train on.
        name: Part of every seed.
        rounds: Rounds that the audited model took.
        device: Where to train.
        statistics: As for `make_task`.
        files: As for `build_model`.
    """
    task = make_task(job, statistics)
    model = place_model(build_model(job, files=files), job, device)
    for round_ in range(1, rounds + 1):
        training: PrivateTraining | LocalTraining
        if job.privacy.mechanism == "dp-sgd":
            randomness = SeededRandomness(job.job.seed, name, round_)
            training = PrivateTraining(
                model, task, samples, job, site=name, device=device, randomness=randomness
            )
        else:
            classes = ClassGroups.of_samples(job, samples)
            order = SampleOrder.public(job, len(samples), name, classes=classes)
            training = LocalTraining(model, task, samples, job, site=name, device=device, order=order)
        training.run(round_)
    return model
