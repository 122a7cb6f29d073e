"""The Flower ClientApp of a site: messages come in, are decided on by their heads, and answers go out.

The same app runs in a simulation and in a hospital; what is asked, `client/work/hospital.py` does.
"""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace

from flwr.app import Context, Error, Message, RecordDict
from flwr.clientapp import ClientApp

from client.guard.gate import Gate, Visit
from client.guard.log_proof import CutLogError
from client.settings.policy import PolicyError
from client.settings.states import NoDatasetError, StateError
from client.training.device import explained
from client.work.hospital import Site
from client.work.secure_aggregation import QUERIES
from client.work.secure_aggregation import evaluate as evaluate_masked
from client.work.secure_aggregation import statistics as statistics_masked
from client.work.secure_aggregation import train as train_masked
from client.work.warm_networks import read_job
from shared.audit import log_heads
from shared.audit.fields import AuditError
from shared.errors import JobError, SiteError, WardroundError
from shared.job_parts import is_sent_whole
from shared.privacy.secagg.errors import SecureAggregationError
from shared.text.redact import redact_error
from shared.wire import messages
from shared.wire.messages import MessageError
from shared.wire.sent import measure
from shared.wire.statement_message import STATEMENT, statement_reply
from shared.wire.statistics_message import statistics_reply

_log = logging.getLogger(__name__)

Work = Callable[[Site, Visit, RecordDict, RecordDict], RecordDict]
"""(site, visit, content of the message, what the site remembers of the run) -> content of the reply."""


def make_app(site: Site) -> ClientApp:
    """Return the ClientApp that serves a site."""
    app = ClientApp()

    def handler(phase: str, work: Work) -> Callable[[Message, Context], Message]:
        return lambda message, context: _answer(site, message, phase, work, context.state)

    app.query(messages.DESCRIBE)(handler("describe", _describe))
    app.query(messages.STATISTICS)(handler("statistics", _statistics))
    app.query(STATEMENT)(handler("statement", _statement))
    app.train()(handler("train", _train))
    app.evaluate()(handler("evaluate", _evaluate))
    for stage, work in QUERIES.items():
        app.query(stage)(handler(stage.replace("_", "-"), work))
    return app


def _describe(site: Site, _: Visit, content: RecordDict, __: RecordDict) -> RecordDict:
    description = site.describe(messages.read_question(content).job)
    return messages.describe_reply(replace(description, figures_for=site.config.policy.figures_for))


def _statistics(site: Site, visit: Visit, content: RecordDict, state: RecordDict) -> RecordDict:
    site.take_statistics(visit)
    if visit.job.privacy.secure_aggregation:
        return statistics_masked(site, visit, content, state)
    return statistics_reply(site.statistics(visit.job))


def _statement(site: Site, visit: Visit, _: RecordDict, __: RecordDict) -> RecordDict:
    return statement_reply(site.statement(visit))


def _train(site: Site, visit: Visit, content: RecordDict, state: RecordDict) -> RecordDict:
    if visit.job.privacy.secure_aggregation:
        return train_masked(site, visit, content, state)
    request = messages.read_request(content)
    update = site.train(request)
    if not is_sent_whole(visit.job):
        return messages.train_reply(update, site.encode(request, update.vector))
    del request
    content[messages.ARRAYS].clear()  # a large model is let go before the answer is put together
    return messages.train_reply(update)


def _evaluate(site: Site, visit: Visit, content: RecordDict, state: RecordDict) -> RecordDict:
    if visit.job.privacy.secure_aggregation:
        return evaluate_masked(site, visit, content, state)
    return messages.evaluate_reply(site.evaluate(messages.read_request(content)))


def _answer(site: Site, message: Message, phase: str, work: Work, state: RecordDict) -> Message:
    """Reply with the work's result, or with an error that says what a person can do.

    In a hospital the audit log has the reply before it leaves, and an error is cleared of names, paths and
    values unless it was written for strangers' eyes.
    """
    visit = None
    try:
        visit = read_visit(message.content, phase, message.metadata.run_id)
        site.admit(visit)
        model = site.take(visit, message.content)
        with counted(site.gate, visit), explained(site.config.name):
            content = work(site, visit, message.content, state)
        if site.gate is not None:
            log_heads.add(content, site.gate.sent(visit, measure(content), model))
        return Message(content, reply_to=message)
    except Exception as error:
        if site.gate is None and not isinstance(error, WardroundError):
            raise
        return Message(Error(*explained_to_strangers(site, visit, phase, error)), reply_to=message)


@contextmanager
def counted(gate: Gate | None, visit: Visit) -> Iterator[None]:
    """Count what is answered inside, errors too; a simulation, where nobody asks, does not.

    A process that ends inside has answered nothing, and may be asked again.

    Raises:
        PolicyError: It was answered often enough meanwhile.
    """
    try:
        yield
    finally:
        if gate is not None:
            gate.count(visit)


def read_visit(content: RecordDict, phase: str, run: int) -> Visit:
    """Return what a message asks, from its head alone.

    Raises:
        WardroundError: It makes no sense.
    """
    asked = messages.read_question(content)
    job, known_head = read_job(asked.job), log_heads.asked(content)
    return Visit(
        job,
        phase,
        asked.round,
        asked.split,
        asked.researcher,
        run,
        known_head,
        project=asked.project,
        run_name=asked.run,
    )


def explained_to_strangers(site: Site, visit: Visit | None, phase: str, error: Exception) -> tuple[int, str]:
    """Return the code and the reason that may leave of an error, which is written down first."""
    reason = str(error) if site.gate is None else _noted(site.gate, visit, phase, error)
    if isinstance(error, CutLogError):
        return messages.LOG_CUT, reason
    if isinstance(error, StateError):
        return int(error.state), reason
    return messages.SITE_ERROR if isinstance(error, WardroundError) else messages.CRASH, reason


def _noted(gate: Gate, visit: Visit | None, phase: str, error: Exception) -> str:
    """Write an error into the audit log and the service's log; return what may leave of it."""
    try:
        if isinstance(error, PolicyError) and visit is not None:
            if phase == "describe":
                state = error.state.words if isinstance(error, StateError) else ""
                gate.refused_look(visit, error.rule, error.problem, state)
            else:
                gate.refused(visit, error.rule, error.problem)
            # What else the hospital has is nothing that a coordinator needs to know.
            return f"{error.where}: {error.problem}" if isinstance(error, NoDatasetError) else str(error)
        gate.failed(visit, phase, redact_error(error))
    except AuditError as unwritten:
        _log.error("%s", unwritten)
        return "the site's audit log can't be written"
    if isinstance(
        error, SiteError | JobError | MessageError | SecureAggregationError
    ):  # written for whoever submitted the job
        return str(error)
    _log.error("a %s request failed", phase, exc_info=error)
    return f"{redact_error(error)} (the site's log tells more)"
