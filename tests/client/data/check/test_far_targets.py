"""A regression whose stated scale is not its column's: whoever checks the data is told, and nobody else."""

from pathlib import Path

import pytest

from client.data.check.dataset_check import check_dataset
from client.data.check.expected import Expected
from client.data.manifest.splits import CohortKey, Split, SplitTable
from tests.conftest import write_dataset
from tests.jobs import make_job


@pytest.mark.parametrize(("mean", "deviation", "is_far"), [(50.0, 10.0, False), (50.0, 0.01, True)])
def test_a_scale_in_another_unit_is_a_warning(
    tmp_path: Path, mean: float, deviation: float, is_far: bool
) -> None:
    path = write_dataset(tmp_path / "data", ("alpha",), patients=9)
    header, *rows = path.read_text().splitlines()
    path.write_text("\n".join([f"{header},age", *(f"{row},{30 + n}" for n, row in enumerate(rows))]) + "\n")
    job = make_job(task_name="regression", task_scaling={"age": [mean, deviation]})
    report = check_dataset(path, Expected.of(job), split=Split(CohortKey.drawn(0), SplitTable()))
    said = [warning for warning in report.warnings if "standard deviations from the mean" in str(warning)]
    assert len(said) == is_far
    assert all("column 'age' is up to 2000 " in str(one) and "[task] scaling" in str(one) for one in said)
    assert not report.errors
