"""A site's patients for one job: who is on which side, and who is behind a figure or an update."""

import hashlib
from functools import partial

import numpy as np

from client.data.kinds.row_images import ImageFilter
from client.data.manifest.splits import CohortKey
from client.data.samples.job_rows import ManifestsAtHand
from client.data.samples.site_data import SiteData
from client.guard.bounds import Bounds
from client.guard.cohort import Cohort, side_of
from client.guard.looks import asked
from client.guard.release import Release
from client.guard.update_plan import check_update, patients_in_round, units_in_round, with_targets
from client.settings.policy import PolicyError
from client.settings.site import SiteConfig
from client.training.class_balance import ClassGroups
from client.training.private_plan import plan
from client.training.sample_order import SampleOrder
from shared.job.schema import JobSpec
from shared.metrics.grouped import TEST
from shared.privacy.accounting import Steps
from shared.wire.messages import Request


class SiteCohort:
    """Applies a site's policy to its cohort.

    Args:
        config: The site's.
        cohort: Divides the patients and remembers; None draws the split's key from each job's seed and
            remembers nothing, as in a simulation without the hospitals' files.
        manifests: What other sites of a simulation have read; None reads the site's own anew for each job.
    """

    def __init__(
        self, config: SiteConfig, cohort: Cohort | None, manifests: ManifestsAtHand | None = None
    ) -> None:
        self._manifests = manifests
        self._config = config
        self._own = cohort

    def load(self, job: JobSpec, image_filter: ImageFilter | None = None) -> SiteData:
        """Read the manifest for a job and split its patients.

        Raises:
            SiteError: The site offers no such dataset, or its split has changed.
            DataError: The manifest can't be used.
        """
        name, cohort = job.job.dataset, self._cohort(job)
        dataset = self._config.dataset(name)

        def admit(side: str, patients: frozenset[str]) -> frozenset[str]:
            return cohort.admitted(
                name,
                side_of(side, job.data.fold, job.data.fold_draw),
                patients,
                self._config.policy.min_group,
            )

        return SiteData.load(
            dataset.manifest,
            job,
            site=self._config.name,
            split=cohort.split(name, dataset.split, dataset.collection),
            admit=admit if self._tells(job) else None,
            column_value=dataset.site,
            cache=self._config.cache,
            image_filter=image_filter,
            manifests=self._manifests,
        )

    def for_training(self, job: JobSpec, data: SiteData) -> SiteData:
        """Return the data, which have patients enough to train on.

        Raises:
            PolicyError: They have not.
        """
        least = self._config.policy.min_group
        if self.patients(job, data)["train"] < least:
            problem = (
                f"policy.min_group asks for {least} patients{with_targets(job)}, there are fewer to train on"
            )
            raise PolicyError(problem, where=self._config.name)
        return data

    def patients(self, job: JobSpec, data: SiteData) -> dict[str, int]:
        """Return how many patients take part on each side; none train where too few of them have a target.

        A job says how much the others teach, and it may be nothing.
        """
        least = self._config.policy.min_group
        if least == 1 or len(data.taught_by()) >= least:
            return data.patients
        return {**data.patients, "train": 0}

    def tell(self, job: JobSpec, data: SiteData, *sides: str) -> None:
        """Remember that figures of the patients on these sides leave, without noise.

        Raises:
            PolicyError: They differ by too few patients from those behind an earlier figure.
        """
        least, cohort = self._config.policy.min_group, self._cohort(job)
        for side in sides if self._tells(job) else ():
            if data.patients[side] >= least:
                name = side_of(side, job.data.fold, job.data.fold_draw)
                cohort.tell(job.job.dataset, name, data.group(side), least, self._config.name)

    def groups(self, job: JobSpec, data: SiteData, split: str) -> dict[str, frozenset[str]]:
        """Return the patients of those groups of a split of which figures leave, and remember them.

        Whether a group is told follows from its size and from what was told before. Only a test has groups.
        """
        if split != TEST:
            return {}
        cohort, least = self._cohort(job), self._config.policy.min_group
        beside, found = [data.group(split)], {}
        for name, patients in data.test_groups().items():
            if cohort.tell_beside(job.job.dataset, f"{split}: {name}", patients, least, beside):
                found[name] = patients
                beside.append(patients)
        return found

    def order(self, job: JobSpec, data: SiteData, seed: int) -> SampleOrder:
        """Return which images each step of a round takes.

        Args:
            job: Says how long a round is.
            data: The site's for the job.
            seed: As `training_seed` gives it.
        """
        policy = self._config.policy
        return SampleOrder.of(
            job,
            data.examples["train"],
            seed=seed,
            key=self._cohort(job).key,
            site=self._config.name,
            round_to=policy.round_counts_to,
            least=policy.min_patients_in_update,
            classes=ClassGroups.of(job, data.drawn_as(), data.training_patients),
        )

    def name_of(self, job: JobSpec, patients: frozenset[str]) -> str:
        """Return a name for a group of patients, in hexadecimal, which the key alone gives."""
        return self._cohort(job).key.hash("group", "\x1f".join(sorted(patients))).hex()

    def bounds(self, job: JobSpec, request: Request) -> Bounds:
        """Return how sums over patients are bounded before they leave.

        The noise is that of what is asked: asked again, also by a job of another name that judges the same
        model, it has the same answer. Two requests have other noise
        where they have the same values too: that they have would be an answer about each patient.
        """
        carried = (request.vector, np.empty(0) if request.edges is None else request.edges)
        hashes = [hashlib.sha256(np.ascontiguousarray(one).data).hexdigest() for one in carried]
        seed = partial(self._cohort(job).key.seed, "noise", asked(job), request.round, request.split, *hashes)
        pairing = job.task.pairing(job.data)
        moved = 1 if pairing is None else 1 + pairing.partners  # who is in a pair moves the other's value too
        return Bounds(self._config.policy.min_group, seed, moved=moved)

    def standing_bounds(self, job: JobSpec) -> Bounds:
        """Return how figures of the data alone are bounded: whatever job asks, they have the same noise.

        With noise for each job, many jobs together would tell the figure itself.
        """
        return Bounds(self._config.policy.min_group, partial(self._cohort(job).key.seed, "noise of the data"))

    def private_steps(self, job: JobSpec, data: SiteData) -> Steps:
        """Return what a round of private training is here."""
        return plan(job, Release.of(self._config.policy, job).units(data, job))

    def behind_update(self, job: JobSpec, data: SiteData, round_: int) -> int:
        """Return how many patients' images make up the update of a round; under dp-sgd how many to expect.

        Of images without a target none count.
        """
        if job.privacy.mechanism == "dp-sgd":
            units = Release.of(self._config.policy, job).units(data, job)
            return units_in_round(self.private_steps(job, data), units)
        order, have_targets = self.order(job, data, job.job.seed), data.have_targets().tolist()
        return patients_in_round(order, data.training_patients, have_targets, round_)

    def check_update(self, job: JobSpec, data: SiteData, round_: int) -> None:
        """Check that enough patients are behind the update of a round.

        Raises:
            PolicyError: There are too few.
        """
        policy = self._config.policy
        if policy.min_patients_in_update > 1 and not job.privacy.secure_aggregation:
            check_update(policy, job, self.behind_update(job, data, round_), self._config.name)

    def _cohort(self, job: JobSpec) -> Cohort:
        return self._own or Cohort(CohortKey.drawn(job.job.seed))

    def _tells(self, job: JobSpec) -> bool:
        """Say whether exact figures leave: what private training alone returns is paid for by the ledger."""
        release = Release.of(self._config.policy, job)
        return job.privacy.mechanism != "dp-sgd" or release.counts or release.scores
