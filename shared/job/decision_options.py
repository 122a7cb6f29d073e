"""What a job lets be chosen on the validation patients besides the round."""

from typing import TYPE_CHECKING, Literal, Self

from pydantic import Field, model_validator

from shared.table import Table

if TYPE_CHECKING:
    from shared.job.schema import JobSpec

_WITH_SHARE = ("sensitivity", "specificity")


class DecisionsTable(Table):
    """`[evaluation.decisions]`: what is chosen of the tested model by the sums of the validation patients."""

    operating_point: Literal["youden", "sensitivity", "specificity"] | None = Field(
        None,
        examples=["sensitivity"],
        description="How each class's threshold is chosen: the largest sum of sensitivity and specificity "
        "(Youden 1950), or the best of the other where one of them is at_least.",
    )
    at_least: float | None = Field(
        None, gt=0, lt=1, examples=[0.95], description="The sensitivity, or specificity, that is asked for."
    )
    calibration: Literal["temperature", "isotonic"] | None = Field(
        None,
        examples=["temperature"],
        description="How scores become probabilities that hold: one number that divides all logits (Guo et "
        "al. 2017), or a rising curve for each class (Zadrozny and Elkan 2002).",
    )
    coverage: float | None = Field(
        None,
        ge=0.5,
        lt=1,
        examples=[0.9],
        description="Share of each class's images whose prediction set has the true class (conformal "
        "prediction).",
    )

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if (self.at_least is not None) != (self.operating_point in _WITH_SHARE):
            raise ValueError(
                "at_least: is needed with operating_point = 'sensitivity' or 'specificity', and only there"
            )
        if self.operating_point is None and self.calibration is None and self.coverage is None:
            raise ValueError("operating_point, calibration or coverage: name what is to be chosen")
        return self


def check_decisions(job: "JobSpec") -> None:
    """Raise ValueError where nothing of what a job asks for can be chosen."""
    asked = job.evaluation.decisions
    if asked is None:
        return
    found = job.task.classified()
    if found is None or found[1].kind != "label":
        raise ValueError(f"[evaluation.decisions]: is for tasks with classes, not for {job.task.name}")
    if asked.coverage is not None and not found[1].exclusive:
        raise ValueError(
            "[evaluation.decisions] coverage: is for samples of one class each; with several labels take "
            "operating_point = 'sensitivity'"
        )
    if not job.trains:
        raise ValueError(
            "[evaluation.decisions]: is chosen on validation patients, which a job of no rounds has not "
            "([job] rounds = 0)"
        )
