"""What the `check` commands of both sides have in common."""

from collections.abc import Iterable
from dataclasses import asdict

from shared.cli.answer import answer
from shared.findings import Finding, show_findings


def report_findings(findings: Iterable[Finding], *, as_json: bool) -> int:
    """Print findings, each as it comes or all as one JSON object; returns the number of failures."""
    if not as_json:
        return show_findings(findings)
    found = list(findings)
    answer(as_json, findings=[asdict(finding) for finding in found])
    return sum(finding.state == "failure" for finding in found)
