"""A hospital at work: its data of the jobs at hand, and what it answers to each of their requests.

What a job may do is decided here, by the site's own configuration; nothing in a message is executed.
"""

import time
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import torch
from flwr.app import RecordDict
from numpy.typing import NDArray

from client.data.kinds.row_images import ImageFilter
from client.data.samples.job_rows import ManifestsAtHand
from client.data.samples.site_data import Samples, SiteData
from client.guard.claims import claims_of
from client.guard.cohort import Cohort
from client.guard.gate import Gate, Visit
from client.guard.group_release import bound_and_withhold
from client.guard.release import Release, told_seconds
from client.guard.request_rules import check_request
from client.guard.site_cohort import SiteCohort
from client.guard.statistics import part_of
from client.guard.sum_book import SumBook
from client.settings.policy import PolicyError, check_size
from client.settings.site import SiteConfig
from client.training.class_counts import statistics_for_loss
from client.training.device import check_machine
from client.training.loop import LocalTraining, training_seed
from client.work.first_model import carried_by, check_first
from client.work.run_store import RunStore
from client.work.secure_aggregation import Credentials
from client.work.strategy_work import Memory, do_round, judged_model
from client.work.warm_networks import JOBS_AT_HAND, Bench, Workshop, evaluate, read_job
from shared.errors import JobError
from shared.job.model_size import is_larger, model_size
from shared.job.schema import JobSpec
from shared.metrics.curves import bins_for
from shared.metrics.grouped import GroupedMetrics
from shared.metrics.statistics import Statistics, packed, unpacked
from shared.privacy.randomness import Randomness, SecretRandomness, SeededRandomness
from shared.privacy.secagg.claims import Claims
from shared.privacy.secagg.records import TRAIN, side_of
from shared.recent import Recent
from shared.wire import messages

if TYPE_CHECKING:
    from client.training.private_loop import PrivateTraining


class Site:
    """A hospital at work: its data of the current job, and what it answers.

    Args:
        config: What the hospital offers and allows.
        workshop: Where its networks are.
        image_filter: Applied to every image as read; a simulated scanner.
        gate: Asks for approval, knows people and hours, keeps the audit log. None is a simulation: errors may
            then name patients and files, and of the policy counts what looks at the job alone.
        credentials: For secure aggregation; without them the site takes no part in it.
        store: For jobs that keep something between rounds; without it the site takes no part in them.
        sums: Remembers what was summed; without it, as in a simulation, nothing is remembered.
        cohort: How patients are divided, and what was told of them. None takes the gate's; without a gate the
            split's key is drawn from the job's seed, and nothing is remembered.
        manifests: What other sites of a simulation have read.
    """

    def __init__(
        self,
        config: SiteConfig,
        workshop: Workshop,
        image_filter: ImageFilter | None = None,
        *,
        gate: Gate | None,
        credentials: Credentials | None = None,
        store: RunStore | None = None,
        sums: SumBook | None = None,
        cohort: Cohort | None = None,
        manifests: ManifestsAtHand | None = None,
    ) -> None:
        self.config = config
        self.gate = gate
        self.credentials = credentials
        self.sums = sums
        self._store = store
        self._cohort = SiteCohort(config, cohort or (None if gate is None else gate.cohort), manifests)
        self._workshop = workshop
        self._filter = image_filter
        self._data: Recent[str, SiteData] = Recent(JOBS_AT_HAND)  # by the job's digest

    def admit(self, visit: Visit) -> None:
        """Check a request against the policy by its head, before anything is loaded for it.

        Raises:
            PolicyError: A rule refuses it.
            SiteError: The machine lacks what the job computes with.
        """
        policy = self.config.policy
        self.config.admit(visit.job)
        check_machine(visit.job, self._workshop.device, self.config.name)
        check_request(visit.job, visit.phase, visit.round, visit.split, self.config.name)
        if is_larger(visit.job, policy.max_model_mb):
            check_size(policy, model_size(visit.job).all / 1e6, self.config.name)
        if self.gate is not None:
            self.gate.admit(visit)

    def take(self, visit: Visit, content: RecordDict) -> str:
        """Take an admitted request on: remember its model, count it, and charge what it costs.

        Returns:
            The SHA-256 of the model that came with it; empty where nothing is remembered.

        Raises:
            PolicyError: It carries a model that is not that of its round, something is used up, or it would
                tell of too few patients.
        """
        if self.gate is not None:
            self.gate.take_reading(visit)
        if visit.phase == "train":
            data = self._training_data(visit.job)
            self._cohort.check_update(visit.job, data, visit.round)
            self._cohort.tell(visit.job, data, "train")
        if visit.phase not in ("train", "evaluate"):
            return ""
        self._workshop.begin(visit.job.canonical(), content)
        if self.gate is None:
            return ""
        if (visit.phase, visit.round) == ("train", 1) or not visit.job.trains:
            files = self._workshop.starts.take(model_size(visit.job).once, content)
            check_first(visit.job, content, self.config.name, files)
        carried = carried_by(content)
        self.gate.take(visit, carried)
        if visit.phase == "train" and visit.job.privacy.mechanism == "dp-sgd":
            self.gate.reserve(visit, self._cohort.private_steps(visit.job, data))
        return carried.model

    def starts_at_hand(self, job: JobSpec) -> list[str]:
        """Return the SHA-256 of those weights that a job starts from which need not be sent."""
        return self._workshop.starts.at_hand(model_size(job).once)

    def data(self, job: JobSpec) -> SiteData:
        """Return the site's data for a job, kept warm as long as few other jobs ask.

        Raises:
            SiteError: The site offers no such dataset.
            DataError: The manifest or an image can't be used.
        """
        digest = job.digest()
        if digest not in self._data:
            self._data[digest] = self._cohort.load(job, self._filter)
        return self._data[digest]

    def describe(self, canonical: str) -> messages.Description:
        """Say what the site has for a job, as far as `Release` lets it; no image is read."""
        job = read_job(canonical)
        data, release = self.data(job), Release.of(self.config.policy, job)
        if release.counts:
            self._cohort.tell(job, data, *data.patients)
        return release.description(self.config.name, self._cohort.patients(job, data), data.examples)

    def take_statistics(self, visit: Visit) -> None:
        """Count what is asked of the training patients before the first round; errors as of the gate."""
        if self.gate is not None:
            self.gate.take_statistics(visit)

    def statistics(self, job: JobSpec) -> NDArray[np.float64]:
        """Return the site's part of what is added up over all sites before the first round, packed (n,).

        Raises:
            PolicyError: There are too few patients to train on.
        """
        data = self._training_data(job)
        self._cohort.tell(job, data, "train")
        release = Release.of(self.config.policy, job)
        task = self._workshop.bench(job.canonical()).task
        return packed(job.statistics(), part_of(job, task, data, release, self._cohort.standing_bounds(job)))

    def statement(self, visit: Visit) -> str:
        """Return what the site signs about its part in a run.

        Raises:
            PolicyError: It has taken no part in it, or has no audit log that says so.
            WardroundError: The log or the certificate can't be used.
        """
        if self.gate is None:
            raise PolicyError("job.run: a simulated site signs nothing", where=self.config.name)
        layout = self._workshop.bench(visit.job.canonical()).wire.layout.digest()
        return self.gate.signed(visit, layout)

    def _training_data(self, job: JobSpec) -> SiteData:
        return self._cohort.for_training(job, self.data(job))

    def group(self, job: JobSpec, split: str) -> str:
        """Name the patients of a split, all of them together; nobody without the site's key can."""
        return self._cohort.name_of(job, self.data(job).group(split))

    def claims(self, job: JobSpec, phase: str) -> Claims:
        """Return what the site signs about its part in a secure sum.

        Raises:
            PolicyError: There are too few patients to train on.
        """
        side = side_of(phase)
        data = self._training_data(job) if side == TRAIN else self.data(job)
        claims = claims_of(self.config.policy, job, data, phase)
        if claims.patients:
            self._cohort.tell(job, data, side)
        return claims

    def train(self, request: messages.Request) -> messages.Update:
        """Train the global model on the site's data for one round."""
        start = time.perf_counter()
        job = read_job(request.job)
        data = self._training_data(job)
        release = Release.of(self.config.policy, job)
        if job.strategy.tells_loss and not release.loss:
            problem = (
                f"[strategy] name: '{job.strategy.name}' tells this site's training loss, which stays here"
            )
            remedy = "A policy with share_site_metrics and min_group = 1 lets it go."
            raise PolicyError(problem, where=self.config.name, remedy=remedy)
        bench = self._bench(request)
        torch.set_num_threads(bench.job.training.threads)
        make = partial(self._training, bench, data, request)
        vector, first_loss = do_round(
            bench, request, make, self._memory(request, data), partial(self._trained_on, job, data)
        )
        loss = release.training_loss(first_loss)
        seconds = told_seconds(time.perf_counter() - start)
        examples = release.examples(len(data.split("train")))
        return messages.Update(vector, examples, loss, seconds)

    def _memory(self, request: messages.Request, data: SiteData | None = None) -> Memory:
        return Memory(self._store, request, self.config.name, "" if data is None else data.named("train"))

    def encode(self, request: messages.Request, trained: NDArray[np.float32]) -> bytes:
        """Return a trained model as the job's `[update]` says; what is left out is on the disk by then.

        Raises:
            SiteError: The site can't keep what compression leaves out.
        """
        update_filter = self._workshop.bench(request.job).filter
        if not update_filter.keeps_residual:
            return update_filter.encode(trained, request.vector, None)[0]
        memory, sizes = self._memory(request), {"residual": update_filter.trained}
        before = memory.before("residual", sizes).get("residual")
        content, residual = update_filter.encode(trained, request.vector, before)
        assert residual is not None  # noqa: S101 (the filter keeps one)
        memory.keep("residual", {"residual": residual})
        return content

    def model(self, request: messages.Request) -> NDArray[np.float32]:
        """Return the model that a request carries, without what a strategy sends beside it.

        That may be any numbers, and change nothing: by it two equal models are not told apart.
        """
        beside = sum(self._bench(request).wire.beside.values())
        return request.vector[: request.vector.size - beside]

    def part(self, request: messages.Request, trained: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the part of a trained model that goes into a masked sum, its change clipped."""
        return self._workshop.bench(request.job).filter.clipped(trained, request.vector)

    def _trained_on(self, job: JobSpec, data: SiteData) -> Samples:
        return data.split("train")  # of the job, which one that attacks in a simulation looks at

    def _training(
        self, bench: Bench, data: SiteData, request: messages.Request
    ) -> "LocalTraining | PrivateTraining":
        samples, name, device = self._trained_on(bench.job, data), self.config.name, self._workshop.device
        if bench.job.privacy.mechanism == "dp-sgd":
            from client.training.private_loop import PrivateTraining  # noqa: PLC0415  (with Opacus)

            randomness: Randomness = SecretRandomness()
            if self.gate is None:  # a rehearsal: it repeats, and keeps nothing secret
                randomness = SeededRandomness(bench.job.job.seed, name, request.round)
            return PrivateTraining(
                bench.model,
                bench.task,
                samples,
                bench.job,
                site=name,
                device=device,
                units=Release.of(self.config.policy, bench.job).units(data, bench.job),
                randomness=randomness,
            )
        known = bench.task.statistics
        return LocalTraining(
            bench.model,
            bench.task.knowing({**known, **statistics_for_loss(bench.job, data, known)}),
            samples,
            bench.job,
            site=name,
            device=device,
            order=self._cohort.order(bench.job, data, training_seed(bench.job, request.vector)),
            parameters=bench.parameters,
            seed=training_seed(bench.job, request.vector),
        )

    def evaluate(self, request: messages.Request) -> messages.Evaluation:
        """Evaluate on a split of the site's data: the global model, or by some strategies the site's own.

        Where the policy lets no figure leave, the states are those of no patients, which change no sum.
        """
        start = time.perf_counter()
        job = read_job(request.job)
        data = self.data(job)
        if request.split not in data.patients:
            raise JobError("asks for a split that does not exist", where=self.config.name)
        bench = self.judging(request)
        release = Release.of(self.config.policy, job)
        if not release.scores or not release.has_group(data.patients[request.split]):
            nothing = GroupedMetrics.of(bench.task, _edges(bench, request), request.split).pack()
            return messages.Evaluation(nothing, 0, told_seconds(time.perf_counter() - start))
        self._cohort.tell(job, data, request.split)
        samples = data.split(request.split)
        torch.set_num_threads(bench.job.training.threads)
        groups = self._cohort.groups(job, data, request.split)
        metrics = evaluate(bench, samples, _edges(bench, request), split=request.split, groups=groups)
        bounds, bins = self._cohort.bounds(job, request), job.evaluation.bins
        bound_and_withhold(metrics, groups, bounds, job, bins=bins, masked=False)
        seconds = told_seconds(time.perf_counter() - start)
        return messages.Evaluation(metrics.pack(), release.count(len(samples)), seconds)

    def summand(
        self, request: messages.Request, *, judging: bool, patients: int
    ) -> tuple[GroupedMetrics, NDArray[np.float64]]:
        """Evaluate the global model for a masked sum; a site that does not judge it adds nothing.

        Args:
            request: What is asked.
            judging: Whether this site has anything to add.
            patients: Of all sites together: the sum tells no more bins than they allow.

        Returns:
            Empty metrics, and the packed states (n,).
        """
        bench = self.judging(request)
        split, edges = request.split, _edges(bench, request)
        empty = GroupedMetrics.of(bench.task, edges, split)
        if not judging:
            return empty, empty.pack()
        torch.set_num_threads(bench.job.training.threads)
        data, bins = self.data(bench.job), bins_for(bench.job.evaluation.bins, patients)
        groups = self._cohort.groups(bench.job, data, split)
        found = evaluate(bench, data.split(split), edges, split=split, groups=groups)
        found.fold(bins)
        bounds = self._cohort.bounds(bench.job, request)
        bound_and_withhold(found, groups, bounds, bench.job, bins=bins, masked=True)
        return empty, found.pack()

    def _bench(self, request: messages.Request) -> Bench:
        bench = self._workshop.bench(request.job)
        if bench.wire.layout.digest() != request.layout:
            raise JobError(
                "the model has another layout here than at the coordinator",
                where=self.config.name,
                remedy="Coordinator and site must run the same version of Wardround.",
            )
        if request.vector.shape != (bench.wire.layout.size,):
            problem = f"carries a model of {request.vector.size} numbers instead of {bench.wire.layout.size}"
            raise messages.MessageError(problem, where=self.config.name)
        return bench.knowing(self._given(bench.job, request))

    def _given(self, job: JobSpec, request: messages.Request) -> Statistics:
        """Return the statistics of all sites that came with a request.

        Raises:
            MessageError: They are not those of the job, or make no sense.
        """
        try:
            return unpacked(job.statistics(), np.array(request.statistics, np.float64))
        except ValueError as error:
            raise messages.MessageError(str(error), where=self.config.name) from None

    def judging(self, request: messages.Request) -> Bench:
        """Return the bench with the model that is evaluated at this site, as it is after the round.

        Raises:
            WardroundError: The vector is not that of the job, or what the site keeps can't be used.
        """
        bench = self._bench(request)
        bench.state.unpack(judged_model(bench, request, self._memory(request)))
        return bench


def _edges(bench: Bench, request: messages.Request) -> NDArray[np.float64] | None:
    try:
        return bench.task.check_edges(request.edges, bench.job.evaluation.bins)
    except ValueError as error:
        raise messages.MessageError(str(error)) from None
