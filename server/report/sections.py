"""The parts of a report of one run: what was asked, who took part, what came out, at what price."""

import re
from collections.abc import Iterator, Sequence
from statistics import median
from typing import Any

from server.report.content import Section, words
from server.report.facts import RunFacts, finite
from server.report.few_patients import FEW, few_choose
from server.report.tables import guarantee_lines, shown_metrics
from server.report.words import asked, privacy_of
from shared.metrics.figures import Figure, Point
from shared.tasks.fields import image_columns_of
from shared.text.plural import many
from shared.web.tables import Table, number

_NO_NAME = re.compile(r"[^a-z0-9]+")  # a metric of a class has its label in its name
_TROUBLES = {
    "site_failed": "failed",
    "site_left_out": "was left out",
    "site_late": "was late",
    "site_weighed_less": "counted for less than it claimed",
}


def asked_section(facts: RunFacts) -> Section:
    """Return what was asked."""
    job = facts.job
    text = f"Job {job.job.name}, digest {job.digest()}."
    return Section("asked", "What was asked", (text,), tables=(asked(job),))


def sites_section(facts: RunFacts) -> Section:
    """Return who took part."""
    images = "images" if image_columns_of(facts.job) else "rows"
    columns: Sequence[str] = (
        "site",
        "patients to train",
        "to validate",
        "to test",
        f"{images} to train",
        "rounds",
        "late",
        "what else",
    )
    trained = _rounds_trained(facts)
    late = facts.about.get("late") or {}
    judging, left_out = facts.about.get("only_judging") or {}, facts.about.get("left_out") or {}
    rows: list[list[Any]] = [
        [
            name,
            *(facts.patients(name, side) for side in ("train", "val", "test")),
            facts.images(name, "train"),
            trained.get(name, 0),
            int(late.get(name, 0)),
            f"only judges: {judging[name]}" if name in judging else "",
        ]
        for name in facts.sites
    ]
    rows += [[name, *[None] * 6, f"left out: {reason}"] for name, reason in left_out.items()]
    notes = ["Patients and images as the hospitals round them; a dash is what a hospital keeps to itself."]
    if not any(row[-1] for row in rows):
        columns, rows = columns[:-1], [row[:-1] for row in rows]
    table = Table("sites", "The hospitals", columns, rows, notes)
    said = f"{many(len(facts.sites), 'hospital')} took part" + (
        f", {len(left_out)} were left out." if left_out else "."
    )
    return Section(
        "sites",
        "Who took part",
        (said,) if rows else ("No hospital has joined.",),
        tables=(table,) if rows else (),
    )


def _rounds_trained(facts: RunFacts) -> dict[str, int]:
    rounds: dict[str, set[str]] = {}
    for row in facts.site_rows:
        if row["phase"] == "train":
            rounds.setdefault(row["site"], set()).add(row["round"])
    return {site: len(own) for site, own in rounds.items()}


def learning_section(facts: RunFacts) -> Section:
    """Return how the rounds went."""
    figures = [figure for metric in _followed(facts) if (figure := curve(facts, metric)) is not None]
    nothing = "No round has been finished."
    if not facts.job.trains:
        nothing = "Nothing was trained: the model that the job names was judged."
    if facts.rounds:
        nothing = "There is no curve: the hospitals keep their scores and their training loss to themselves."
    says = () if figures else (nothing,)
    return Section("learning", "How it learnt", says, figures=figures)


def _followed(facts: RunFacts) -> list[str]:
    return [*shown_metrics(facts.job)[:1], "train_loss"]


def curve(facts: RunFacts, metric: str) -> Figure | None:
    """Return a metric after each round; None where no round has it."""
    phase = "train" if metric == "train_loss" else "val"
    points: list[Point] = [
        ("federation", int(row["round"]), value)
        for row in facts.rounds
        if (value := finite(row.get(metric))) is not None
    ]
    single = sorted(
        (row["site"], int(row["round"]), value)
        for row in facts.site_rows
        if row["phase"] == phase and (value := finite(row.get(metric))) is not None
    )
    if not points and not single:
        return None
    name = "training loss" if metric == "train_loss" else words(metric)
    on = "" if metric == "train_loss" else " on validation patients"
    return Figure(
        "rounds-" + _NO_NAME.sub("-", metric),
        f"{name[0].upper()}{name[1:]}{on}",
        ("of", "round", name),
        [*points, *single],
        says=f"{name[0].upper()}{name[1:]} after each round, of the federation and of each hospital.",
    )


def cost_section(facts: RunFacts) -> Section:
    """Return what the run has cost."""
    sent = facts.about.get("bytes_sent") or {}
    seconds: dict[str, list[float]] = {}
    for row in facts.site_rows:
        if row["phase"] == "train" and (value := finite(row["seconds"])) is not None:
            seconds.setdefault(row["site"], []).append(value)
    rows: list[list[Any]] = [
        [
            name,
            None if name not in sent else round(sent[name] / 1e6, 3),
            round(sum(seconds[name]), 1) if name in seconds else None,
            round(median(seconds[name]), 2) if name in seconds else None,
        ]
        for name in facts.sites
    ]
    tables = [
        Table("cost", "By hospital", ("site", "MB sent", "seconds of training", "seconds per round"), rows)
    ]
    total = sum(finite(row["bytes"]) or 0 for row in facts.rounds)
    lengths = [value for row in facts.rounds if (value := finite(row["seconds"])) is not None]
    says = [f"{many(len(facts.rounds), 'round')}, {number(total / 1e6, 1)} MB in both directions."]
    if lengths:
        says.append(
            f"A round took {median(lengths):.1f} s (median), from {min(lengths):.1f} to {max(lengths):.1f} s."
        )
    return Section("cost", "What it cost", says, tables=tables if rows else ())


def promises_section(facts: RunFacts, audits: list[Table]) -> Section:
    """Return what was promised to the patients, and what attacks found."""
    says = guarantee_lines(facts.about)[1:]
    if not says:
        says = [f"Asked for: {privacy_of(facts.job)}."]
        if facts.job.privacy.mechanism == "none":
            says.append("No bound is promised on what the model or an update tells of a single patient.")
    if not audits:
        site = "--site-name SITE" if facts.is_rehearsal else "--site site.toml"
        says.append(
            "No attack on the model was recorded "
            f"(wardround audit-privacy RUN {site} --json > RUN/audit-SITE.json)."
        )
    return Section("promises", "What was promised to patients", says, tables=audits)


def troubles_section(facts: RunFacts) -> Section:
    """Return what went wrong, and what is doubtful."""
    warns = list(_troubles(facts))
    counts: dict[tuple[str, str, str], list[int]] = {}
    for line in facts.events:
        if line["event"] in _TROUBLES:
            reason = str(line.get("reason", ""))
            counts.setdefault((str(line.get("site", "")), line["event"], reason), []).append(
                int(line.get("round", 0))
            )
    rows = [
        [site, _TROUBLES[kind], _listed(rounds), reason]
        for (site, kind, reason), rounds in sorted(counts.items())
    ]
    tables = (
        [Table("troubles", "Sites in trouble", ("site", "what", "rounds", "reason"), rows)] if rows else []
    )
    says = () if warns or rows else ("Nothing was noticed.",)
    return Section("troubles", "What went wrong, what is doubtful", says, warns, tables)


def _troubles(facts: RunFacts) -> Iterator[str]:
    if facts.status != "finished":
        reason = facts.about.get("reason") or "no reason is known"
        yield f"The run is {facts.status}: {reason}"
    yield from facts.about.get("warnings") or ()
    silent = {str(line.get("reason", "")) for line in facts.events if line["event"] == "not_evaluated"}
    yield from (f"No metrics in some rounds: {reason}" for reason in sorted(silent))
    if not facts.is_rehearsal:  # whose data check said so
        validate = [facts.patients(site, "val") for site in facts.sites]
        known = [count for count in validate if count is not None]
        yield from few_choose(facts.job, sum(known) if known and len(known) == len(validate) else None)
    patients = facts.test_patients() if facts.test else None
    if patients and patients < FEW and not facts.is_rehearsal:  # whose data check said so
        yield (
            f"The test has {many(patients, 'patient')}: what differs between models of such a test is "
            "mostly chance."
        )


def _listed(rounds: list[int]) -> str:
    own = sorted(set(rounds))
    return str(own[0]) if len(own) == 1 else f"{own[0]} to {own[-1]} ({many(len(own), 'round')})"


def repeat_section(facts: RunFacts) -> Section:
    """Return how to do it again."""
    about = facts.about
    hardware = about.get("hardware") or {}
    rows: list[list[Any]] = [
        ["run", facts.name],
        ["digest of the job", about.get("digest") or facts.job.digest()],
    ]
    rows += [["seed", facts.job.job.seed], ["commit", about.get("git_commit")]]
    rows += [[name, version] for name, version in (about.get("versions") or {}).items()]
    rows += [[key, ", ".join(value) if isinstance(value, list) else value] for key, value in hardware.items()]
    rows += [[key, about.get(key)] for key in ("started", "finished")]
    rows += [["test", facts.test_openings()]] if facts.test else []
    rows += [[f"SHA-256 of {name}", digest] for name, digest in (about.get("models") or {}).items()]
    table = Table(
        "versions", "With what", ("what", "which"), [row for row in rows if row[1] not in (None, "")]
    )
    says = ("The same job, data, seed and versions give the same model, bit for bit on a processor.",)
    return Section("repeat", "How to repeat it", says, tables=(table,), commands=_commands(facts))


def _commands(facts: RunFacts) -> list[str]:
    command = facts.about.get("command")
    if command:
        return [str(command)]
    return [] if facts.is_rehearsal else ["wardround submit JOB.toml  # the job whose digest is below"]
