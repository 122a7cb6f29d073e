"""Tables of vectors: in the order that a field names, of the length that it says, and nobody else's."""

from pathlib import Path

import numpy as np
import pytest

from client.data.kinds.row_images import NOTHING
from client.data.kinds.vectors import VectorsKind
from client.data.manifest.rows import Record
from shared.errors import DataError
from shared.job.data_options import DataTable
from shared.tasks.fields import Field

TABLE = """patient,month,a,b
ann,10,1,2
ann,9,3,4
ben,1,5,6
"""


def kind(order: str | None = "month", length: int = 2) -> VectorsKind:
    return VectorsKind("vectors", Field("vectors", ("vectors.csv",), order=order, length=length), DataTable())


def record(folder: Path, patient: str = "ann", table: str = TABLE) -> Record:
    (folder / "vectors.csv").write_text(table, encoding="utf-8")
    return Record(2, patient, (), folder=folder)


def test_rows_come_in_their_order(tmp_path: Path) -> None:
    found = kind().read(record(tmp_path), NOTHING)
    np.testing.assert_array_equal(found, np.array([[3, 4], [1, 2]], np.float32))
    assert found.dtype == np.float32


def test_without_an_order_all_columns_are_numbers(tmp_path: Path) -> None:
    found = kind(None, 3).read(record(tmp_path), NOTHING)
    np.testing.assert_array_equal(found, np.array([[10, 1, 2], [9, 3, 4]], np.float32))


def test_samples_of_other_rows_are_told_apart(tmp_path: Path) -> None:
    own = kind()
    ann, ben = own.source(record(tmp_path)), own.source(record(tmp_path, "ben"))
    assert ann != ben
    assert kind().source(record(tmp_path, table=TABLE.replace("ann,9,3", "ann,9,7"))) not in (ann, ben)
    assert kind().source(record(tmp_path)) == ann


@pytest.mark.parametrize(
    ("own", "table", "problem"),
    [
        (kind(length=3), TABLE, "has 2 numbers in a row, and the job wants 3"),
        (kind("mont"), TABLE, "has no column 'mont'; did you mean 'month'"),
        (kind(), TABLE.replace("ann,9", "ann,10"), "has two rows of 'ann' at one month"),
        (kind(), TABLE.replace("ann,9", "ann,"), "lacks a number in a row of 'ann'"),
        (kind(), TABLE.replace("ann", "eve"), "has no rows of 'ann'"),
    ],
)
def test_what_does_not_fit_is_refused(tmp_path: Path, own: VectorsKind, table: str, problem: str) -> None:
    with pytest.raises(DataError, match=problem):
        own.read(record(tmp_path, table=table), NOTHING)


def test_a_table_of_nobody_in_the_manifest_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="has no row of any patient of the manifest; it has 'ann'"):
        kind().require_matches([record(tmp_path, "eve")])
    kind().require_matches([record(tmp_path, "eve"), record(tmp_path, "ben")])
