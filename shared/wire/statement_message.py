"""How the coordinator asks a site at the end of a run what it signs about its part in it."""

from flwr.app import ConfigRecord, RecordDict

from shared.wire.messages import CONFIG, MessageError

STATEMENT = "statement"
LARGEST = 2**22  # bytes of an answer: a hundred thousand rounds are not signed one by one


def statement_request(job: str, run: str, researcher: str, project: str) -> RecordDict:
    """Return the question: which job (canonical JSON) and run, for whom."""
    config = {"job": job, "run": run, "researcher": researcher, "project": project}
    return RecordDict({CONFIG: ConfigRecord(config)})


def statement_reply(envelope: str) -> RecordDict:
    """Return the answer: a signed document as `shared.passport` writes it."""
    return RecordDict({CONFIG: ConfigRecord({STATEMENT: envelope})})


def read_statement(content: RecordDict) -> str:
    """Parse an answer; whether it holds is not looked at.

    Raises:
        MessageError: It is something else.
    """
    config = content.get(CONFIG)
    envelope = config.get(STATEMENT) if isinstance(config, ConfigRecord) else None
    if not isinstance(envelope, str) or len(envelope) > LARGEST:
        raise MessageError("has no statement")
    return envelope
