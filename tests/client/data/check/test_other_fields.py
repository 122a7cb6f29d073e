"""What `data check` says of cells that no figure comes from."""

from pathlib import Path

from client.data.check.other_fields import ungrouped
from client.data.manifest.pooled_sites import Row
from client.data.manifest.rows import Manifest, Record
from tests.jobs import make_job


def test_decimals_with_a_comma_are_in_no_group_and_whoever_checks_the_data_is_told() -> None:
    job = make_job(
        evaluation_groups=[{"column": "age", "ends": [40.0]}, {"column": "sex", "values": ["F", "M"]}]
    )
    cells = [{"age": "39.5", "sex": "F"}, {"age": "41,5", "sex": "f"}, {"age": "", "sex": "M"}]
    records = [Record(2 + n, f"p{n}", (), cells=own) for n, own in enumerate(cells)]
    manifest = Manifest(Path("manifest.csv"), (), records, [])
    rows = [Row(record, manifest, "test", f"row {record.row}") for record in records]
    age, sex = ungrouped(job, rows)
    assert age == "1 row of the test in no group of the column 'age': in row 3 '41,5' is not a number"
    assert "in row 3 'f' is not among the values of the job" in sex
    assert not list(ungrouped(job, [Row(r.record, manifest, "train", r.where) for r in rows]))
