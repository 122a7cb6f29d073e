"""`wardround verify`: whether a model, a run or an export is what was signed, and by whom."""

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from shared.cli.answer import Json, answer

if TYPE_CHECKING:
    from shared.passport.check import Passport
    from shared.passport.documents import Promise


def verify(
    path: Annotated[
        Path, typer.Argument(help="A model's file, the folder of a run, or an export.", show_default=False)
    ],
    root: Annotated[
        Path | None,
        typer.Option(help="Certificate of the federation's authority (ca.crt).", show_default=False),
    ] = None,
    key: Annotated[
        Path | None,
        typer.Option(help="Public key of an export's signer. Default: your own.", show_default=False),
    ] = None,
    passport: Annotated[
        Path | None,
        typer.Option(help="The passport, where it does not lie beside the model.", show_default=False),
    ] = None,
    json: Json = False,
) -> None:
    """Check who took part in a model, and that nothing was changed since it was signed; offline."""
    from client.export.signing import SIGNATURE
    from shared.errors import WardroundError
    from shared.passport.documents import FILE

    if not path.exists():
        raise WardroundError("there is no such file or folder", where=path)
    is_export = (path / SIGNATURE).is_file()
    lines: list[str] = []
    found: dict[str, Any] = {}
    if root is None and not is_export:
        raise WardroundError(
            f"is not an export (it has no {SIGNATURE}), and a run or a model is checked by its passport",
            where=path,
            remedy="Give the certificate of the federation's authority with --root.",
        )
    if is_export and (key is not None or root is None):
        from client.export.signing import verify as check_signature

        found["key"] = check_signature(path, key)
        lines.append(f"{path}: every file is as it was signed by the key {found['key']}")
    if root is not None:
        from client.export.origin import check_origin

        beside = passport or (path if path.is_dir() else path.parent) / FILE
        origin = check_origin(path, beside, root, signed="key" in found)
        lines += [*_lines(origin.passport), *origin.lines]
        found |= _keys(origin.passport) | {"models": origin.models, "sums": origin.sums}
    elif (path / FILE).is_file():
        lines.append("It has a passport of its run, which --root (the federation's ca.crt) checks.")
    answer(json, lines, path=path, **found)


def _lines(passport: "Passport") -> list[str]:
    from shared.cli.table import table_lines

    content = passport.content
    rows = [
        (
            site,
            _trained(passport, site),
            "yes" if site in content.tested else "-",
            _promise(passport.statements[site].promise) if site in passport.statements else "",
            "signed" if site in passport.statements else f"NOT SIGNED: {content.without[site]}",
        )
        for site in passport.sites
    ]
    return [
        f"passport of the run {content.run}",
        f"signed by the coordinator of {content.federation}, {content.time}",
        f"job {passport.digest}, {len(content.rounds)} rounds",
        "",
        *table_lines(("site", "trained in rounds", "tested", "promise to its patients", "statement"), rows),
        "",
    ]


def _keys(passport: "Passport") -> dict[str, Any]:
    content = passport.content
    sites = {
        site: {
            "rounds": passport.trained_in(site),
            "not_taken": passport.not_taken(site),
            "tested": site in content.tested,
            "signed": site in passport.statements,
            "promise": passport.statements[site].promise.model_dump()
            if site in passport.statements
            else None,
            "without": content.without.get(site),
        }
        for site in passport.sites
    }
    return {
        "federation": content.federation,
        "run": content.run,
        "job": passport.digest,
        "time": content.time,
        "rounds": len(content.rounds),
        "sites": sites,
    }


def _trained(passport: "Passport", site: str) -> str:
    late = _ranges(passport.not_taken(site))
    return (_ranges(passport.trained_in(site)) or "-") + (
        f" (signs {late} too: came too late)" if late else ""
    )


def _promise(promise: "Promise") -> str:
    masked = "; only masked sums left it" if promise.secure_aggregation else ""
    if promise.mechanism == "dp-sgd":
        amount = "by its ledger" if promise.epsilon is None else f"{promise.epsilon:g}"
        honest = "" if promise.honest_sites is None else f", if {promise.honest_sites} sites are honest"
        return f"epsilon {amount}, delta {promise.delta:g} for each {promise.unit}{honest}{masked}"
    return ("noise by the coordinator" if promise.mechanism == "site-level" else "none") + masked


def _ranges(numbers: Iterable[int]) -> str:
    """Return ascending numbers as people write them: 1-3, 5."""
    spans: list[list[int]] = []
    for number in numbers:
        if spans and number == spans[-1][1] + 1:
            spans[-1][1] = number
        else:
            spans.append([number, number])
    return ", ".join(str(first) if first == last else f"{first}-{last}" for first, last in spans)
