"""Checks a passport offline: with the federation's root certificate, and nothing that came beside it."""

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import numpy as np
import safetensors
import safetensors.numpy
from cryptography import x509
from cryptography.x509.oid import NameOID

from shared.networks.adapter_names import adapted_layers
from shared.passport.documents import (
    PASSPORT,
    STATEMENT,
    PassportContent,
    Released,
    Statement,
    moment,
    read,
)
from shared.passport.envelope import COORDINATOR, SITE, Envelope, PassportError, name_of
from shared.pki.certificates import UNREADABLE, CredentialError, load_certificate
from shared.wire.layout_digest import layout_digest

_MOST_BYTES = 2**28
_MOST_NAMED = 8
_CLOCKS = timedelta(minutes=10)  # by which the clocks of a site and the coordinator may differ


@dataclass(frozen=True)
class Passport:
    """A passport whose signatures hold, and what its sites sign.

    Attributes:
        content: What the coordinator signs.
        statements: What each site signs.
    """

    content: PassportContent
    statements: Mapping[str, Statement]

    @property
    def digest(self) -> str:
        """Digest of the job."""
        return hashlib.sha256(self.content.job.encode()).hexdigest()

    @property
    def models(self) -> dict[int, str]:
        """The SHA-256 of the packed vector after each round; 0 is the first model."""
        return {0: self.content.first} | {one.round: one.model for one in self.content.rounds}

    def trained_in(self, site: str) -> list[int]:
        """Return the rounds whose model has an update of a site in it."""
        return [one.round for one in self.content.rounds if site in one.updates]

    def not_taken(self, site: str) -> list[int]:
        """Return the rounds for which a site signs an update that is in no model.

        It came too late, says the coordinator, which nobody else can tell.
        """
        own = self.statements.get(site)
        signed = {one.round for one in own.trained} if own else set()
        return sorted(signed - set(self.trained_in(site)))

    @property
    def sites(self) -> list[str]:
        """The sites that took part: whose updates are in a model, or who judged one."""
        content = self.content
        judged = {site for one in content.rounds for site in (*one.updates, *one.judged)}
        return sorted(judged | set(content.tested))

    def sent_to(self, round_: int) -> list[str]:
        """Return the sites that sign that they were sent the model after a round."""
        model = self.models.get(round_)
        return sorted(
            site
            for site, own in self.statements.items()
            if any((one.after, one.model) == (round_, model) for one in own.received)
        )


def load_root(path: Path) -> x509.Certificate:
    """Read the certificate of a federation's authority.

    Raises:
        CredentialError: It is something else.
    """
    certificate = load_certificate(path)
    try:
        is_authority = certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    except (*UNREADABLE, x509.ExtensionNotFound):
        is_authority = False
    if not is_authority:
        raise CredentialError("is not the certificate of a federation's authority", where=path)
    return certificate


def load_passport(path: Path, authority: x509.Certificate) -> Passport:
    """Read a passport and check all that it says by itself.

    Raises:
        PassportError: A signature does not hold, or what the sites sign is not what the coordinator signs;
            all that was found is named.
    """
    try:
        if path.stat().st_size > _MOST_BYTES:
            raise PassportError(f"is larger than {_MOST_BYTES} bytes", where=path)
        text = path.read_bytes()
    except OSError as error:
        raise PassportError(f"can't be read ({error.strerror})", where=path) from None
    try:
        passport, problems = _opened(text, authority)
    except PassportError as error:
        raise PassportError(error.problem, where=path) from None
    problems += [
        *_rounds(passport),
        *_parts(passport),
        *(each for site in passport.sites for each in differences(passport, site)),
    ]
    _refuse(problems, path)
    return passport


def check_model(passport: Passport, file: Path, name: str | None = None) -> Released:
    """Check that a file is a model of the passport's run, and that its numbers are those that sites signed.

    Args:
        passport: Was checked.
        file: The model.
        name: Of which of the run's files it must be a copy; None: of any.

    Returns:
        What the passport says of it.

    Raises:
        PassportError: It is not.
    """
    try:
        with file.open("rb") as content:
            digest = hashlib.file_digest(content, "sha256").hexdigest()
    except OSError as error:
        raise PassportError(f"can't be read ({error.strerror})", where=file) from None
    files = passport.content.files
    found = [one for own, one in files.items() if one.sha256 == digest and name in (None, own)]
    if not found:
        run = passport.content.run
        raise PassportError(
            f"is not a model of the run {run}: no file of its passport has its SHA-256", where=file
        )
    if _travels_as_saved(passport) and _packed_digest(passport, file) != passport.models.get(found[0].round):
        raise PassportError(
            f"does not hold the numbers of round {found[0].round} that the sites were sent", where=file
        )
    return found[0]


def _travels_as_saved(passport: Passport) -> bool:
    """Say whether what travelled is in the file of a model, number by number.

    What a strategy sends beside a model is in none, and adapters are merged into their layers.
    """
    tensors = passport.content.tensors
    return not adapted_layers([tensor.name for tensor in tensors]) and not any(one.beside for one in tensors)


def _starts(passport: Passport) -> bool:
    """Say whether a network of the job starts from weights, of which parts may not have travelled."""
    model = json.loads(passport.content.job).get("model", {})
    return any("start" in table for table in (model, *model.values()) if isinstance(table, dict))


def _packed_digest(passport: Passport, file: Path) -> str:
    """Return the SHA-256 of a file's tensors, packed as they travel; what never changes may stay at home."""
    try:
        tensors = safetensors.numpy.load_file(file)
        sent = {tensor.name for tensor in passport.content.tensors}
        if not (sent == set(tensors) or (_starts(passport) and sent < set(tensors))):
            return ""
        packed = hashlib.sha256()
        for tensor in passport.content.tensors:
            numbers = tensors[tensor.name]
            if list(numbers.shape) != tensor.shape or numbers.dtype != np.float32:
                return ""
            packed.update(np.ascontiguousarray(numbers, np.dtype("<f4")).tobytes())
        return packed.hexdigest()
    except (OSError, ValueError, TypeError, AttributeError, safetensors.SafetensorError) as error:
        raise PassportError(f"can't be read as a model ({error})", where=file) from None


def _refuse(problems: list[str], where: Path) -> None:
    if not problems:
        return
    more = [f"and {len(problems) - _MOST_NAMED} more"] if len(problems) > _MOST_NAMED else []
    raise PassportError("does not hold: " + "; ".join(problems[:_MOST_NAMED] + more), where=where)


def _opened(text: bytes, authority: x509.Certificate) -> tuple[Passport, list[str]]:
    """Return a passport signed by the coordinator, with those statements that hold, and what does not."""
    payload, certificate = Envelope.parse(text).opened(
        PASSPORT,
        authority,
        COORDINATOR,
        lambda payload: moment(read(PassportContent, payload).time),
    )
    content = read(PassportContent, payload)
    statements, problems = {}, []
    for site, envelope in content.statements.items():
        try:
            statements[site] = open_statement(envelope, authority, site)
        except PassportError as error:
            problems.append(f"the statement of {site} {error.problem}")
    organisation = certificate.issuer.get_attributes_for_oid(NameOID.ORGANIZATION_NAME)
    if [str(one.value) for one in organisation] != [content.federation]:
        problems.append(f"it names the federation '{content.federation}', and the root certificate another")
    return Passport(content, statements), problems


def open_statement(envelope: Envelope, authority: x509.Certificate, site: str) -> Statement:
    """Return what a site signs, after checking that it was this site.

    Raises:
        PassportError: It was not, or it was changed.
    """
    payload, certificate = envelope.opened(
        STATEMENT, authority, SITE, lambda payload: moment(read(Statement, payload).time)
    )
    if (name := name_of(certificate)) != site:
        raise PassportError(f"is signed by '{name}'")
    statement = read(Statement, payload)
    if statement.site != site:
        raise PassportError(f"is that of the site '{statement.site}'")
    return statement


def _rounds(passport: Passport) -> Iterator[str]:
    """Say what is wrong with the record of rounds itself."""
    content, numbers = passport.content, [one.round for one in passport.content.rounds]
    missing = next((place for place, number in enumerate(numbers, 1) if number != place), None)
    if missing is not None:
        yield f"round {missing} is missing"
    try:
        job = json.loads(content.job)
        most, _ = int(job["job"]["rounds"]), {**job.get("model", {})}
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError):
        yield "its job can't be read"
    else:
        if len(numbers) > most:
            yield "it has more rounds than its job"
    if any(one.round and one.round not in numbers for one in content.files.values()):
        yield "a model was saved after a round that it does not have"
    if not moment(content.begun) <= moment(content.time):
        yield "it was signed before the run began"


def _parts(passport: Passport) -> Iterator[str]:
    """Say which sites have a part by their own word alone, and which reasons are for nothing."""
    sites, content = set(passport.sites), passport.content
    for site in sorted(content.statements.keys() - sites):
        yield f"{site} signs that it took part, and the coordinator that it did not"
    for site in sorted(content.without.keys() & content.statements.keys()):
        yield f"{site} has a statement, and the coordinator a reason why it has none"
    for site in sorted(content.without.keys() - sites - content.statements.keys()):
        yield f"{site} is said to have signed nothing, and took no part"


def differences(passport: Passport, site: str) -> Iterator[str]:
    """Say where what a site signs and what the coordinator signs differ."""
    own, content = passport.statements.get(site), passport.content
    if own is None:
        if site not in content.statements and site not in content.without:
            yield f"{site} took part, and signs nothing"
    elif (own.run, own.job) != (content.run, passport.digest):
        yield f"the statement of {site} is of another run or job"
    else:
        signed = moment(own.time)  # differences: a begin in the year 1 has no ten minutes before it
        if signed - moment(content.begun) < -_CLOCKS or signed - moment(content.time) > _CLOCKS:
            yield f"{site} signed before the run began or after its end, or its clock is wrong"
        if own.layout != layout_digest(
            content.parameters, ((one.name, one.shape) for one in content.tensors)
        ):
            yield f"{site} signs another layout of the model"
        yield from _trainings(passport, own)
        yield from _judgements(passport, own)
        for received in own.received:
            if passport.models.get(received.after, received.model) != received.model:
                yield f"{site} signs that it was sent another model after round {received.after}"


def _trainings(passport: Passport, own: Statement) -> Iterator[str]:
    """Compare the updates: one that came too late is in no model, but its round is there."""
    signed = {(one.round, one.update) for one in own.trained}
    for one in passport.content.rounds:
        if own.site in one.updates and (one.round, one.updates[own.site]) not in signed:
            yield f"{own.site} does not sign the update of round {one.round} that was taken for its own"
    rounds = {one.round for one in passport.content.rounds}
    for round_ in sorted({number for number, _ in signed} - rounds):
        yield f"{own.site} signs that it trained in round {round_}, which is missing"


def _judgements(passport: Passport, own: Statement) -> Iterator[str]:
    content, judged = passport.content, {(one.round, one.split) for one in own.judged}
    for one in content.rounds:
        if own.site in one.judged and (one.round, "val") not in judged:
            yield f"{own.site} does not sign that it judged the model of round {one.round}"
    if own.site in content.tested and (content.tested_round, "test") not in judged:
        yield f"{own.site} does not sign that it tested the model of round {content.tested_round}"
