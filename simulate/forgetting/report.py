"""What forgetting has brought, as people look at it."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from client.membership.audit import RATIO, THRESHOLD, Audit
from server.report.content import Report, Section, words
from server.report.facts import RunFacts
from server.report.tables import shown_metrics
from shared.text.plural import many
from shared.web.tables import Estimate, Table, TableCell

_ATTACKS = (THRESHOLD, RATIO)


def report_of(
    runs: Mapping[str, Path], who: str, audits: Mapping[str, Audit], rest: Sequence[str], notes: Sequence[str]
) -> Report:
    """Return the report.

    Args:
        runs: The run, and those without whoever is forgotten, by name.
        who: Is forgotten.
        audits: What attacks found in their models; may be empty.
        rest: Names of the sites that judge all of these models.
        notes: What is to be known.
    """
    facts = {name: RunFacts.read(run) for name, run in runs.items()}
    metric = shown_metrics(next(iter(facts.values())).job)[0]
    heard = "all sites that stay" if len(rest) > 1 else "the site that stays"
    rows: list[list[TableCell]] = []
    for name, own in facts.items():
        scores = [own.site_estimate(site, metric).value for site in rest]
        known = [score for score in scores if score is not None]
        cells: list[TableCell] = [name, sum(known) / len(known) if known else None]
        audit = audits.get(name)
        if audits:
            cells += [
                Estimate(None)
                if audit is None
                else Estimate(audit.leaks[attack].auc, *audit.leaks[attack].auc_interval)
                for attack in _ATTACKS
            ]
        rows.append([*cells, own.name])
    columns = ["model", f"{words(metric)}, mean of {heard}"]
    columns += [f"attack by {attack}: AUC" for attack in _ATTACKS] if audits else []
    table = Table("forgetting", f"Without {who}", [*columns, "run"], rows, _notes(audits, notes))
    says = "The exact model was trained as if they had never been there. An AUC of 0.5 is guessing."
    section = Section("forgetting", f"Without {who}", (says,), tables=(table,))
    return Report(f"{next(iter(facts.values())).name}: without {who}", "What is left of them.", (), [section])


def _notes(audits: Mapping[str, Audit], notes: Sequence[str]) -> list[str]:
    if not audits:
        return list(notes)
    one = next(iter(audits.values()))
    said = (
        f"Attacks with {many(one.members, 'patient')} who were trained on, {one.others} held out and "
        f"{many(one.shadows, 'shadow model')}; intervals of 95 %. An attack that fails proves nothing."
    )
    return [said, *notes]
