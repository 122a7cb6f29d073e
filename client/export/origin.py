"""Where a model comes from: its file, the folder of its run, or an export, compared with a passport."""

import hashlib
import json
from dataclasses import dataclass, field, replace
from pathlib import Path

from client.export.file_names import ABOUT, WEIGHTS
from shared.passport.check import Passport, check_model, load_passport, load_root
from shared.passport.documents import Released
from shared.passport.envelope import PassportError
from shared.passport.sums import asks_for_sums, check_sums
from shared.run_folder import ABOUT as RUN
from shared.run_folder import JOB, PARTICIPATION


@dataclass(frozen=True)
class Origin:
    """A passport that holds, and what it says of the files at hand.

    Attributes:
        passport: Was checked.
        lines: About the files, for people.
        models: Round of each model, by its name.
        sums: Rounds whose sums were checked, where the job asks for it.
    """

    passport: Passport
    lines: list[str]
    models: dict[str, int]
    sums: list[int] = field(default_factory=list)


def check_origin(path: Path, passport: Path, root: Path, *, signed: bool) -> Origin:
    """Check a passport, and that a model, a run or an export belongs to it.

    Args:
        path: A file, or a folder.
        passport: The file.
        root: Certificate of the federation's authority.
        signed: The path is an export whose signature holds.

    Raises:
        PassportError: Something does not hold; all that was found is named.
        CredentialError: The root is not the certificate of an authority.
    """
    authority = load_root(root)
    if not passport.is_file():
        raise PassportError(
            "there is no passport: a run has one once it has ended at real sites; a simulated one has none",
            where=passport,
        )
    checked = load_passport(passport, authority)
    if path.is_file():
        return _of_files(checked, {path: None})
    if (path / RUN).is_file():
        _check_run(checked, path)
        there: dict[Path, str | None] = {
            path / name: name for name in checked.content.files if (path / name).is_file()
        }
        return _with_sums(_of_files(checked, there), path)
    if (path / WEIGHTS).is_file():
        origin = _of_files(checked, {path / WEIGHTS: None})
        if not signed:
            origin.lines.append("Its other files were not checked: give the signer's public key with --key.")
        return origin
    return _of_program(checked, path, signed=signed)


def _with_sums(origin: Origin, folder: Path) -> Origin:
    """Return what is known of a run, with its sums checked where its job asks that they can be."""
    if not asks_for_sums(origin.passport):
        return origin
    found = check_sums(origin.passport, folder)
    return replace(origin, lines=[*origin.lines, *found.lines()], sums=found.rounds)


def _of_files(passport: Passport, files: dict[Path, str | None]) -> Origin:
    lines, models = [], {}
    for file, name in files.items():
        released = check_model(passport, file, name)
        lines.append(f"{file}: {_said(passport, released)}")
        models[file.name] = released.round
    return Origin(passport, lines, models)


def _of_program(passport: Passport, folder: Path, *, signed: bool) -> Origin:
    """Check a program that was made of a model: that it was is on the word of whoever signed the export."""
    if not signed:
        raise PassportError(
            "holds a program made of a model, which the passport does not know",
            where=folder,
            remedy="Check whoever made it, too: give the public key of the export's signer with --key.",
        )
    try:
        digest = json.loads((folder / ABOUT).read_bytes())["run"]["model"]
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        raise PassportError("does not say of which model it was made", where=folder / ABOUT) from None
    for name, released in passport.content.files.items():
        if released.sha256 == digest:
            said = f"{folder}: by its signer made of {name}, {_said(passport, released)}"
            return Origin(passport, [said], {name: released.round})
    raise PassportError("was made of a model that is not in the passport", where=folder / ABOUT)


def _said(passport: Passport, released: Released) -> str:
    sites = passport.sent_to(released.round)
    who = ", ".join(sites) if sites else "no site"
    verb = "sign" if len(sites) > 1 else "signs"
    return f"the model after round {released.round}, which {who} {verb} to have been sent"


def _check_run(passport: Passport, folder: Path) -> None:
    """Check that the folder of a run says what its passport says.

    Raises:
        PassportError: It does not.
    """
    try:
        job = hashlib.sha256((folder / JOB).read_bytes()).hexdigest()
        lines = (folder / PARTICIPATION).read_text(encoding="utf-8").splitlines()
        parts = [json.loads(line) for line in lines]
        trained = {int(one["round"]): one["trained"] for one in parts if one["round"] and not one.get("test")}
    except (OSError, ValueError, KeyError, TypeError, OverflowError, RecursionError) as error:
        raise PassportError(f"can't be compared with its passport ({error})", where=folder) from None
    if job != passport.digest:
        raise PassportError("is another job than that of the passport", where=folder / JOB)
    signed = {one.round: sorted(one.updates) for one in passport.content.rounds}
    for number in sorted(signed.keys() | trained.keys()):
        if signed.get(number) != trained.get(number):
            raise PassportError(
                f"says of round {number} something else than the passport", where=folder / PARTICIPATION
            )
