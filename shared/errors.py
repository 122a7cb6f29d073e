"""Errors that a person can act on."""


class WardroundError(Exception):
    """Something that the user can put right: printed without a traceback, exit code 2.

    Args:
        problem: What is wrong, in one sentence.
        where: The file, and the table, key or row in it.
        remedy: What to do about it.
    """

    def __init__(self, problem: str, *, where: object = None, remedy: str | None = None) -> None:
        self.problem = problem
        self.where = None if where is None else str(where)
        self.remedy = remedy
        text = f"{self.where}: {problem}" if self.where else problem
        super().__init__(f"{text}\n  {remedy}" if remedy else text)

    def __reduce__(self) -> tuple[object, ...]:
        """Keep the three parts when a worker process hands the error on."""
        return (_rebuild, (type(self), self.problem, self.where, self.remedy))


def _rebuild(
    kind: type[WardroundError], problem: str, where: str | None, remedy: str | None
) -> WardroundError:
    return kind(problem, where=where, remedy=remedy)


class JobError(WardroundError):
    """A job that can't be run as it is written."""


class DataError(WardroundError):
    """A dataset, or one of its files, that can't be used.

    Attributes:
        told: What leaves a site in place of the problem; empty for the problem itself, cleared.
    """

    told = ""


class UnfitImageError(DataError):
    """An image that a job is not for: which of its properties that is, and what it has, stays at the site."""

    told = "an image is not one that the job is for"


class SiteError(WardroundError):
    """A site's configuration that can't be used, or a request that a site refuses."""


class RunError(WardroundError):
    """A run that can't start, continue or be resumed."""
