"""What is unusual about a job: what whoever approves it should have read, and asked the researcher about."""

from collections.abc import Iterator

from shared.job.schema import EvaluationTable, JobSpec
from shared.job_parts import networks_of, phases_of, sent_parts
from shared.strategies import StrategyOptions
from shared.text.plural import many

FEW_IMAGES = 10  # behind an update
FEW_SITES = 3
MANY_ROUNDS = 500
LARGE_EPSILON = 10.0
LARGE_DELTA = 1e-4
LITTLE_NOISE = 0.5
FAST = 1.0  # learning rate
RARE = 0.001  # share of a class
TINY = 16  # pixels along an axis


def unusual(job: JobSpec, looks: int = 0) -> list[str]:
    """Return a sentence for each thing that few honest jobs have; none of them proves anything.

    Args:
        job: What is to be approved.
        looks: That there were at the dataset before, as `client.guard.looks` counts them.
    """
    if not job.trains:  # it has no steps, no updates and no rounds
        return [*(_judged(looks) if job.judges else _described(looks)), *_evaluation(job), *_data(job)]
    return [*_described(looks), *_steps(job), *_length(job), *_evaluation(job), *_data(job), *_privacy(job)]


def images_behind(job: JobSpec) -> int | None:
    """Return how many images can be behind an update at most; None where it is all that a site has."""
    steps = job.training.local_steps
    return None if steps is None else steps * job.training.batch_size


def _described(ways: int) -> Iterator[str]:
    if ways:
        yield (
            f"Sums of this dataset's images were told before, prepared in {many(ways, 'way')}: each "
            "further way tells a little more of its training patients."
        )


def _judged(judged: int) -> Iterator[str]:
    if judged:
        models = "One model was" if judged == 1 else f"{judged} models were"
        yield f"{models} judged on this dataset before: each look tells a little more of its test patients."


def _steps(job: JobSpec) -> Iterator[str]:
    training, images = job.training, images_behind(job)
    private = job.privacy.mechanism == "dp-sgd"
    if training.batch_size == 1 and not private:
        yield "Each step looks at a single image ([training] batch_size = 1)."
    if training.local_steps == 1 and not private:
        yield "An update is one step ([training] local_steps = 1): it is the gradient of its images."
    if images is not None and images < FEW_IMAGES:
        yield f"At most {images} {'image is' if images == 1 else 'images are'} behind an update."
    fastest = max(own.learning_rate for own in phases_of(job).values())
    fastest *= max([1.0, *training.rates.values()])
    if fastest > FAST:
        yield f"The steps are large ([training] learning_rate = {fastest:g})."
    if (against := training.adversarial) is not None:
        yield f"Images are changed by up to {against.epsilon:g} before each step ([training.adversarial])."
    if any(network.options.lora for network in networks_of(job)):
        what = " and ".join(["adapters", *(sent_parts(job) or [])])
        yield f"Only {what} are trained and sent ([model.lora]); the other layers stay as they are."
    elif job.update.parts is not None:
        yield f"Only {', '.join(job.update.parts)} is trained and sent ([update] parts)."


def _length(job: JobSpec) -> Iterator[str]:
    if job.job.rounds > MANY_ROUNDS:
        yield f"It has {job.job.rounds} rounds."
    if job.strategy.min_sites < FEW_SITES:
        sites = "one site" if job.strategy.min_sites == 1 else f"{job.strategy.min_sites} sites"
        yield f"It goes on with {sites} in a round ([strategy] min_sites), whose updates hardly mix."
    if job.strategy.largest_share > StrategyOptions.model_fields["largest_share"].default:
        share = f"{job.strategy.largest_share:.0%}"
        yield f"One site may be {share} of a mean ([strategy] largest_share): it may show that site's update."


def _evaluation(job: JobSpec) -> Iterator[str]:
    usual = EvaluationTable().bins
    if job.evaluation.bins > usual:
        yield f"Scores are counted in {job.evaluation.bins} bins ([evaluation] bins; {usual} are usual)."


def _data(job: JobSpec) -> Iterator[str]:
    shares = getattr(job.task, "class_shares", None)
    if shares is not None and min(shares) < RARE * sum(shares):
        yield "A class counts more than a thousand times its share ([task] class_shares)."
    pixels = job.data.patch or job.data.size or []
    if pixels and min(pixels) < TINY:
        yield f"Images are made as small as {' x '.join(map(str, pixels))} pixels."


def _privacy(job: JobSpec) -> Iterator[str]:
    privacy = job.privacy
    if privacy.mechanism == "none":
        return
    if privacy.delta > LARGE_DELTA:
        yield f"The guarantee may fail with probability {privacy.delta:g} ([privacy] delta)."
    if privacy.epsilon is not None and privacy.epsilon > LARGE_EPSILON:
        yield f"The guarantee is weak ([privacy] epsilon = {privacy.epsilon:g})."
    if privacy.noise_multiplier is not None and privacy.noise_multiplier < LITTLE_NOISE:
        yield f"There is little noise ([privacy] noise_multiplier = {privacy.noise_multiplier:g})."
