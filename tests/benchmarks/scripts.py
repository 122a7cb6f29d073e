"""The benchmarks' scripts, and how a test runs one."""

import os
import subprocess
import sys
from pathlib import Path

PROJECT = Path(__file__).parents[2]
ALL = [
    path for path in sorted((PROJECT / "benchmarks").glob("*.py")) if "__main__" in path.read_text("utf-8")
]
ON_REAL_DATA = {
    "science",
    "private_accuracy",
    "metric_bins",
    "bounded_sums",
    "statistics_noise",
    "bags",
    "attention",
    "synthetic_channel",
    "explanations",
    "robustness",
    "retrieval",
    "few_labels",
    "active_labels",
    "pretraining",
    "tcga_brca",
    "personal_models",
}
# Each file of tests runs some, so that workers share them out; those that are not named are in the last one.
FEDERATIONS = [
    "deployment_overhead",
    "every_job",
    "faulty_network",
    "fifty_sites",
    "large_model",
    "many_watchers",
    "watching",
]
SIMULATIONS = [
    "attackers",
    "many_sites",
    "sequences",
    "secure_aggregation",
    "simulation_overhead",
    "strategies",
    "update_filters",
]
OTHERS = [path.stem for path in ALL if path.stem not in {*FEDERATIONS, *SIMULATIONS, *ON_REAL_DATA}]
OPTIONS = {"deployment_overhead": ["--without-flower"]}  # Flower's SuperNodes take minutes


def run(name: str) -> subprocess.CompletedProcess[str]:
    """Run a benchmark as `make bench` does, but quickly."""
    script = PROJECT / "benchmarks" / f"{name}.py"
    command = [sys.executable, str(script), "--quick", *OPTIONS.get(name, [])]
    environment = os.environ | {"PYTHONPATH": str(PROJECT)}
    return subprocess.run(command, env=environment, cwd=PROJECT, capture_output=True, text=True, check=False)
