"""Do models tell that a hospital's patients were trained on? The attacks of an audit, on several models."""

from collections.abc import Mapping
from pathlib import Path

import torch

from client.guard.site_cohort import SiteCohort
from client.membership.audit import Audit, audit_models
from client.membership.population import Population
from client.training.class_counts import statistics_for_loss
from client.training.device import open_device
from shared.finished_run import FinishedRun
from shared.run_folder import SIMULATION
from shared.start_files import starts_of
from simulate.data.scanner import Scanner
from simulate.session.hospitals import Setup


def attacked(runs: Mapping[str, Path], site: str, shadows: int) -> dict[str, Audit]:
    """Attack the models of runs with a site's patients.

    Args:
        runs: By name, the one that the site was in first; all of the same task and network.
        site: The site.
        shadows: Shadow models to train, an even number.

    Raises:
        DataError: The site has too few patients for an attack.
        JobError: Losses say little of single images.
    """
    first = FinishedRun.read(next(iter(runs.values())))
    setup = Setup.read(first.path / SIMULATION)
    config = next(own for own in setup.sites if own.name == site)
    scanner = None if setup.scanner_seed is None else Scanner.draw(site, setup.scanner_seed)
    data = SiteCohort(config, setup.cohorts().get(site)).load(first.job, scanner)
    device: torch.device = open_device(setup.device, config.device.memory_gib)
    models = {name: FinishedRun.read(run).model(device) for name, run in runs.items()}
    return audit_models(
        models,
        first.job,
        Population.of(data, first.job),
        rounds=first.rounds,
        shadows=shadows,
        files=starts_of(first.job, first.path),
        statistics={**first.statistics, **statistics_for_loss(first.job, data, {})},
    )
