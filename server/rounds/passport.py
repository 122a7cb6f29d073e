"""The passport of a run's models: what every site signs about its part, signed as a whole at the end."""

import hashlib
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.x509.oid import NameOID
from flwr.app import RecordDict

from server.audit.trail import Append
from server.files import write_atomic
from server.rounds.federation import Federation, Wait
from server.rounds.missing_sites import NO_ANSWER
from server.rounds.site_texts import told
from server.runs.folder import RunFolder
from server.runs.participation import Part, Participation
from shared.clock import utc_text
from shared.errors import RunError, WardroundError
from shared.flower import query_message
from shared.passport.check import Passport, differences, open_statement
from shared.passport.documents import (
    FILE,
    PASSPORT,
    PackedTensor,
    PassportContent,
    Released,
    Round,
    Statement,
    Without,
)
from shared.passport.envelope import Envelope, PassportError
from shared.pki.certificates import load_certificate, load_key
from shared.run_folder import BEST, MODEL
from shared.wire.messages import MessageError
from shared.wire.packed_model import Layout
from shared.wire.statement_message import LARGEST, STATEMENT, read_statement, statement_request

log = logging.getLogger(__name__)

_WAIT_S = 60.0  # a site may be at work for another run; the models are written by then
_GONE: Without = "was not there when the run ended"
Signed = dict[str, tuple[Envelope, Statement]]
Reasons = dict[str, tuple[Without, str]]
"""Why a site has no statement: for everybody, and for the coordinator's people."""


class Passports:
    """Writes passports of finished runs, signed with the key of the coordinator's own certificate.

    Args:
        folder: The coordinator's.
        audit: Writes an entry.
    """

    def __init__(self, folder: Path, audit: Append) -> None:
        self._folder = folder
        self._audit = audit

    def write(self, run: RunFolder, federation: Federation, layout: Layout) -> None:
        """Ask the sites of a run that has come to its end, and write its passport; or say why it has none.

        Args:
            run: Its models are written.
            federation: Reaches its sites.
            layout: Of the packed model.
        """
        try:
            signed, without = self._write(run, federation, layout)
        except (WardroundError, ValueError) as error:  # the models are there all the same
            log.warning("the run %s has no passport: %s", run.path.name, error)
            run.describe(passport={"problem": told(str(error))})
        else:
            run.describe(passport={"signed": signed, "without": without})

    def _write(
        self, run: RunFolder, federation: Federation, layout: Layout
    ) -> tuple[list[str], dict[str, str]]:
        authority = load_certificate(self._folder / "ca" / "ca.crt")
        key = load_key(self._folder / "tls" / "server.key")
        certificate = load_certificate(self._folder / "tls" / "server.crt")
        signed, reasons = _collected(federation, run.path.name, authority)
        content = _content(run, layout, authority, signed, reasons)
        envelope = Envelope.seal(PASSPORT, content, key, certificate).text().encode()
        self._audit(
            "passport-written",
            run=run.path.name,
            job=run.job.digest(),
            sha256=hashlib.sha256(envelope).hexdigest(),
        )
        write_atomic(run.path / FILE, envelope)
        return sorted(content.statements), {site: reasons[site][1] for site in content.without}


def _collected(federation: Federation, run: str, authority: x509.Certificate) -> tuple[Signed, Reasons]:
    """Ask the members of a run what they sign; return that, and why others sign nothing."""
    sites = {member.node_id: member.name for member in federation.members}
    question = statement_request(federation.job.canonical(), run, federation.researcher, federation.project)
    asked = [query_message(STATEMENT, question, node) for node in sites]
    signed: Signed = {}
    reasons: Reasons = {}

    def check(node: int, content: RecordDict) -> tuple[Envelope, Statement]:
        try:
            envelope = Envelope.parse(read_statement(content))
            return envelope, open_statement(envelope, authority, sites[node])
        except PassportError as error:
            raise MessageError(f"its statement {error.problem}") from None

    def failed(site: str, reason: str, code: int) -> None:
        why: Without = "refused" if code else "gave a statement that does not hold"
        reasons[site] = ("gave no answer" if code == NO_ANSWER else why, told(reason))

    wait = Wait(0, "statement", _WAIT_S, _WAIT_S, _WAIT_S, LARGEST)
    for node, _, answer in federation.answers(asked, sites, wait, check, failed):
        signed[sites[node]] = answer
    return signed, reasons


def _content(
    run: RunFolder, layout: Layout, authority: x509.Certificate, signed: Signed, reasons: Reasons
) -> PassportContent:
    """Return what the coordinator signs; for statements that do not fit the run's record there are reasons.

    Raises:
        RunError: The record lacks what a passport says.
    """
    about, record = run.read_description(), run.participation()
    tensors = [
        PackedTensor(name=entry.name, shape=list(entry.shape), beside=entry.is_beside)
        for entry in layout.entries
    ]
    content = PassportContent(
        federation=_federation(authority),
        run=run.path.name,
        job=run.job.canonical(),
        begun=about["started"],
        time=utc_text("milliseconds"),
        first=_recorded(run, record, 0).model,
        rounds=[_round(_recorded(run, record, number)) for number in range(1, about["rounds"] + 1)],
        tested_round=about["tested_round"],
        tested=[] if record.test is None else record.test.judged,
        parameters=layout.parameters,
        tensors=tensors,
        files=dict(_files(run.path, about)),
        statements={site: envelope for site, (envelope, _) in signed.items()},
        without={},
    )
    passport = Passport(content, {site: statement for site, (_, statement) in signed.items()})
    for site in passport.sites:
        if site not in signed:
            reasons.setdefault(site, (_GONE, _GONE))
        elif problems := list(differences(passport, site)):
            said = told("; ".join(problems))
            reasons[site] = ("signs something else than the coordinator has received", said)
    kept = {site: one for site, one in content.statements.items() if site in passport.sites}
    return content.model_copy(
        update={
            "statements": {site: one for site, one in kept.items() if site not in reasons},
            "without": {site: reasons[site][0] for site in passport.sites if site in reasons},
        }
    )


def _recorded(run: RunFolder, record: Participation, round_: int) -> Part:
    part = record.rounds.get(round_)
    if part is None or not part.model:
        raise RunError(
            f"has no record of the models of round {round_}: an earlier version has begun it", where=run.path
        )
    return part


def _round(part: Part) -> Round:
    updates = {site: part.updates[site] for site in part.trained}
    return Round(round=part.round, model=part.model, updates=updates, judged=part.judged)


def _files(folder: Path, about: dict[str, Any]) -> Iterator[tuple[str, Released]]:
    for name, round_ in ((MODEL, about["rounds"]), (BEST, about["tested_round"])):
        if (folder / name).is_file():
            digest = hashlib.sha256((folder / name).read_bytes()).hexdigest()
            yield name, Released(sha256=digest, round=round_)


def _federation(authority: x509.Certificate) -> str:
    [organisation] = authority.subject.get_attributes_for_oid(NameOID.ORGANIZATION_NAME)
    return str(organisation.value)
