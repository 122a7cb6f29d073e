"""What the runs in progress wait for: which answers, and how many bytes of them each site may bring.

The SuperLink holds whatever a site brings in memory. So the process of a run says what it waits for, and the
gateway takes no more; to a site that nothing was asked of it is closed. A site asks there, too, whether a
question is still open, before it works on it and while it does: one that was late has questions of rounds
that are over.
"""

from collections.abc import Callable, Hashable, Mapping, Sequence

from pydantic import Field, ValidationError
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from shared.flower.connection import AWAITED_PATH
from shared.table import Table

_AGAIN = 16 * 2**20  # bytes beyond an answer: what was sent again as its receipt was lost on the way


class AwaitedBody(Table):
    """What a site asks: whether this message of Flower's, by its identity, still waits for an answer."""

    message: str = Field(pattern=r"^[0-9a-f]{64}$")


class Allowances:
    """What is still to come, by run and site."""

    def __init__(self) -> None:
        self._left: dict[Hashable, dict[str, int]] = {}
        self._questions: dict[Hashable, dict[str, str]] = {}  # to which site, by their identity
        self._changed: list[Callable[[], None]] = []

    def allow(self, run: Hashable, largest: int, questions: Mapping[str, Sequence[str]]) -> None:
        """Say what a run waits for, in place of what it waited for before.

        Args:
            run: Whatever tells runs apart.
            largest: Bytes of the largest answer.
            questions: Flower's identities of the messages to each site.
        """
        each = largest + min(largest, _AGAIN)
        self._left[run] = {site: each * len(messages) for site, messages in questions.items()}
        self._questions[run] = {message: site for site, messages in questions.items() for message in messages}
        self._tell()

    def end(self, run: Hashable) -> None:
        """Say that a run has ended."""
        self._left.pop(run, None)
        self._questions.pop(run, None)
        self._tell()

    def when_changed(self, do: Callable[[], None]) -> None:
        """Have something done whenever what runs wait for changes."""
        self._changed.append(do)

    def _tell(self) -> None:
        for do in self._changed:
            do()

    def asked(self, message: str) -> str | None:
        """Return the site that a run asked with a message, and waits for."""
        return next((asked[message] for asked in self._questions.values() if message in asked), None)

    def site_routes(self) -> list[Route]:
        """Return the routes of the sites' listener."""
        return [Route(AWAITED_PATH, self.is_awaited, methods=["POST"])]

    async def is_awaited(self, request: Request) -> Response:
        """Say whether a run waits for the answer to a message; 204 or 404, and 400 for anything else."""
        try:
            asked = AwaitedBody.model_validate_json(await request.body())
        except ValidationError:
            return PlainTextResponse("the request is not understood", 400)
        return Response(status_code=404 if self.asked(asked.message) is None else 204)

    def charge(self, site: str) -> "Charge":
        """Return what counts the bytes of one request of a site."""
        return Charge([left for left in self._left.values() if site in left], site)


class Charge:
    """The bytes of one request, taken from what the site may bring to any of the runs.

    Attributes:
        whole: The request came to its end, so that the SuperLink may keep it.
    """

    def __init__(self, accounts: list[dict[str, int]], site: str) -> None:
        self._accounts = accounts
        self._site = site
        self._taken = [0] * len(accounts)
        self.whole = False

    @property
    def is_open(self) -> bool:
        """Whether any run waits for an answer of the site."""
        return bool(self._accounts)

    @property
    def left(self) -> int:
        """Bytes that may still come."""
        return sum(account[self._site] for account in self._accounts)

    def take(self, count: int) -> bool:
        """Take bytes; says False, and takes nothing, where fewer are left."""
        if count > self.left:
            return False
        for index, account in enumerate(self._accounts):
            part = min(count, account[self._site])
            account[self._site] -= part
            self._taken[index] += part
            count -= part
        return True

    def close(self) -> None:
        """End the request: one that was broken off is given back."""
        if not self.whole:
            self.give_back()

    def give_back(self) -> None:
        """Count the request as one that never came: the SuperLink has kept nothing of it."""
        for index, account in enumerate(self._accounts):
            account[self._site] += self._taken[index]
            self._taken[index] = 0
