"""What a round of private training is at this site: how many steps, at which sample rate, with which noise.

The ledger is charged for exactly this plan, and the training follows it.
"""

from shared.errors import JobError
from shared.job.schema import JobSpec
from shared.job_parts import phases_with_data
from shared.privacy.accounting import Steps, noise_for


def noise_share(job: JobSpec) -> float:
    """Return the part of the noise (of its standard deviation) that a site adds: 1, or 1/sqrt(honest sites).

    Independent Gaussian shares of the honest sites add up to the whole.
    """
    return 1.0 if job.privacy.honest_sites is None else job.privacy.honest_sites**-0.5


def expected_units(job: JobSpec, steps: Steps, units: int) -> float:
    """Return by how many units a step's noisy sum is divided.

    Where the sites share the noise out, every site divides by the same number: otherwise a small site's
    patients would weigh more in the sum than the others' noise allows for. A job may ask for it elsewhere.
    """
    alike = job.privacy.noise == "distributed" or job.privacy.mean_over == "patients"
    return job.training.batch_size if alike else steps.sample_rate * units


def plan(job: JobSpec, units: int) -> Steps:
    """Return what one round is charged for: its steps, as often as one has phases that see data.

    Units (patients, or images) are Poisson-sampled so that about `batch_size` of them are expected in a step.
    The noise in an update tells the sample rate, and with it the number of units: so a site plans with the
    rounded number. The guarantee is for the rate at which units are drawn, however many there are. Where
    the job names an epsilon, the noise is what all its rounds together need for it at this site. With
    distributed noise this is the noise of the sum, of which the site adds its `noise_share`.

    Args:
        job: With a private mechanism.
        units: Patients or images (`[privacy] unit`) that the site trains on, rounded.

    Raises:
        JobError: There is nobody to train on, or the job's delta is too large for the number of units.
        AccountingError: No noise is enough for the job's epsilon.
    """
    if units < 1:
        raise JobError("there is nobody to train on", where=f"dataset '{job.job.dataset}'")
    _require_small_delta(job, units)
    training, privacy = job.training, job.privacy
    batch = min(training.batch_size, units)
    rate = batch / units
    steps = training.local_steps
    if steps is None:
        assert training.local_epochs is not None  # noqa: S101 (the job has one of the two)
        steps = -(-training.local_epochs * units // batch)
    steps *= phases_with_data(job)
    noise = privacy.noise_multiplier
    if noise is None:
        assert privacy.epsilon is not None  # noqa: S101 (the job has one of the two)
        noise = noise_for(privacy.epsilon, privacy.delta, rate, steps * job.job.rounds)
    return Steps(noise, rate, steps)


def _require_small_delta(job: JobSpec, units: int) -> None:
    """Check delta against the units: a delta of one over them allows that one is published whole.

    They are counted up to the next power of ten, so that a refusal does not tell how many there are.
    """
    most = 10 ** len(str(units))  # above the number
    if job.privacy.delta * most >= 1:
        raise JobError(
            f"{job.privacy.delta:g} is not below 1/{most}: of fewer than {most} {job.privacy.unit}s, one "
            "might be published whole",
            where="[privacy] delta",
            remedy=f"Set delta below {1 / most:g}, better far below.",
        )
