"""What a terminal shows of a run that lies on this machine."""

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from server.report import results, sections
from server.report.between_sites import between_sites_table
from server.report.columns import print_table
from server.report.content import Report
from server.report.facts import RunFacts
from server.report.tables import print_results, print_warnings, shown_metrics
from shared.metrics.figures import Figure
from shared.text.printable import printable
from shared.web.tables import as_table, number

_LEVELS = "▁▂▃▄▅▆▇█"
_MOST = 60  # rounds side by side


def print_run(console: Console, folder: Path) -> None:
    """Print what is known of a run: results if there are any, the course of its rounds, what went wrong."""
    facts = RunFacts.read(folder)
    console.print(f"{facts.name}: {facts.status}", soft_wrap=True, highlight=False, markup=False)
    if facts.test or facts.about.get("described"):
        print_results(console, facts.job, facts.about)
        if (between := between_sites_table(facts, shown_metrics(facts.job))) is not None:
            print_table(console, between)
    for figure in sections.learning_section(facts).figures:
        for line in spark(figure):
            console.print(line, soft_wrap=True, highlight=False, markup=False)
    for figure in results.results_section(facts).figures:
        print_table(console, as_table(figure))
    troubles = sections.troubles_section(facts)
    print_warnings(console, troubles.warns)
    for table in troubles.tables:
        print_table(console, table)


def print_report(console: Console, report: Report) -> None:
    """Print the sentences and tables of a report."""
    console.print(printable(report.title), soft_wrap=True, highlight=False, markup=False)
    for section in report.sections:
        for text in section.says:
            console.print(printable(text), soft_wrap=True, highlight=False, markup=False)
        print_warnings(console, section.warns)
        for table in section.tables:
            print_table(console, table)


def spark(figure: Figure) -> list[str]:
    """Return each line of a figure as a row of characters, its first and last value beside it."""
    names = list(dict.fromkeys(str(point[0]) for point in figure.points))
    values = {name: [float(p[2] or 0) for p in figure.points if str(p[0]) == name] for name in names}
    low, high = min(map(min, values.values())), max(map(max, values.values()))
    longest = max(map(len, map(printable, names)))
    lines = [f"{figure.title}, by round ({number(low)} to {number(high)})"]
    for name, own in values.items():
        drawn = "".join(_LEVELS[_level(value, low, high)] for value in _thin(own))
        lines.append(f"  {printable(name):<{longest}}  {drawn}  {number(own[0])} … {number(own[-1])}")
    return lines


def _thin(values: Sequence[float]) -> list[float]:
    if len(values) <= _MOST:
        return list(values)
    return [values[round(place * (len(values) - 1) / (_MOST - 1))] for place in range(_MOST)]


def _level(value: float, low: float, high: float) -> int:
    share = (value - low) / (high - low) if high > low else 0.0
    return min(len(_LEVELS) - 1, int(share * len(_LEVELS)))
