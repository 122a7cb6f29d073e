"""What the `check` commands of both sides have in common."""

from collections.abc import Iterable
from dataclasses import asdict

import typer

from shared.cli.answer import answer
from shared.findings import Finding, State
from shared.text.printable import printable

_COLOURS: dict[State, str] = {"ok": "green", "warning": "yellow", "failure": "red"}


def report_findings(findings: Iterable[Finding], *, as_json: bool) -> None:
    """Print findings, each as it comes or all as one JSON object; a failure ends the command with 2."""
    if as_json:
        found = list(findings)
        answer(as_json, findings=[asdict(finding) for finding in found])
        failures = sum(finding.state == "failure" for finding in found)
    else:
        failures = _shown(findings)
    if failures:
        raise typer.Exit(2)


def _shown(findings: Iterable[Finding]) -> int:
    """Print each finding as it comes, with what to do; returns the number of failures."""
    from rich.console import Console
    from rich.markup import escape

    console = Console()
    failures = 0
    for finding in findings:
        colour = _COLOURS[finding.state]
        text = (
            f"[{colour}]{finding.state:<8}[/] {escape(finding.what):<12} {escape(printable(finding.detail))}"
        )
        console.print(text, soft_wrap=True, highlight=False)
        if finding.remedy:
            console.print(f"{'':<22}{escape(printable(finding.remedy))}", soft_wrap=True, highlight=False)
        failures += finding.state == "failure"
    return failures
