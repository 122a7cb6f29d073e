"""The files for Kubernetes: the chart, rendered by Helm's own library, and held against Kubernetes' schemas.

`deploy/kubernetes/` is what the chart gives without further values; `--write` renews it. `.ci/kubernetes`
installs what this needs.
"""

import difflib
import sys
from collections.abc import Iterator
from pathlib import Path
from shutil import which
from typing import Any

import helm_python
import kubernetes_validate
import yaml

PROJECT = Path(__file__).resolve().parents[1]
sys.path.insert(
    0, str(PROJECT)
)  # of which no more is needed than these files: nothing of it is installed here

from client.workers.kubernetes import Kubernetes  # noqa: E402

CHART, PLAIN = PROJECT / "deploy" / "helm", PROJECT / "deploy" / "kubernetes"
OLDEST, NEWEST = "1.27", "1.37"  # of Kubernetes
TRAINING = (PLAIN / "training.yaml", PLAIN / "training-network.yaml")
SIDES = ("site", "coordinator")
CHANGED: dict[str, dict[str, Any]] = {
    "site": {
        "user": 5000,
        "storageClass": "fast",
        "image": {"repository": "registry.example/site", "tag": "1", "pullSecrets": ["registry"]},
        "site": {"proxySecret": "proxy", "ports": [3128]},
    },
    "coordinator": {"coordinator": {"service": {"type": "NodePort", "annotations": {"a": "b"}}}},
}
WRONG: tuple[dict[str, Any], ...] = (
    {"side": "hospital"},
    {"user": 0},
    {"sites": {}},
    {"site": {"ports": []}},
    {"coordinator": {"host": ""}},
)


def main() -> None:
    """Check the chart and the plain files; exit with 1 and what is wrong."""
    found = list(helm_python.lint(str(CHART)).get("messages") or [])
    problems = [str(message) for message in found if "icon is recommended" not in str(message)]
    with helm_python.Chart.load(str(CHART)) as chart:
        for side in SIDES:
            plain = rendered(chart, {"side": side})
            problems += [f"{side}: {problem}" for problem in schema_problems(plain)]
            changed = rendered(chart, {"side": side, **CHANGED[side]})
            problems += [f"{side}, changed: {problem}" for problem in schema_problems(changed)]
            problems += difference(PLAIN / f"{side}.yaml", plain)
        for values in WRONG:
            try:
                chart.validate_schema(values)
            except helm_python.HelmValuesError:
                continue
            problems.append(f"values are taken that are wrong: {values}")
    for file in TRAINING:
        problems += [
            f"{file.name}: {problem}" for problem in schema_problems(file.read_text(encoding="utf-8"))
        ]
    made = Kubernetes(TRAINING[0], ()).job("wardround-1", ["sh", "-c", "true"]) if which("kubectl") else ""
    problems += [f"a job of {TRAINING[0].name}: {problem}" for problem in schema_problems(made)]
    if problems:
        sys.exit("\n".join(problems))
    print(f"the chart gives what {', '.join(SIDES)} need, by the schemas of Kubernetes {OLDEST} and {NEWEST}")


def rendered(chart: helm_python.Chart, values: dict[str, Any]) -> str:
    """Return the one file that the chart gives for a side."""
    chart.validate_schema(values)
    [file] = [text for text in chart.render(values, name="wardround").values() if text.strip()]
    return file.strip() + "\n"


def schema_problems(text: str) -> Iterator[str]:
    """Yield what Kubernetes would refuse; a misspelt key, too."""
    for document in yaml.safe_load_all(text):
        for version in (OLDEST, NEWEST):
            try:
                kubernetes_validate.validate(document, version, strict=True)
            except kubernetes_validate.ValidationError as error:
                yield f"{document['kind']}, Kubernetes {version}: {error.message}"


def difference(file: Path, text: str) -> list[str]:
    """Return how a plain file differs from what the chart gives, or write it."""
    if "--write" in sys.argv:
        file.write_text(text, encoding="utf-8")
    lines = file.read_text(encoding="utf-8").splitlines()
    return list(difflib.unified_diff(lines, text.splitlines(), file.name, "the chart's", lineterm=""))


if __name__ == "__main__":
    main()
