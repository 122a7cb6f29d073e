"""What leaves a site in an error text: useful words, and nothing that names anybody or opens anything."""

import base64
import re
import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.errors import DataError
from shared.text.plain_words import PLAIN_WORDS
from shared.text.redact import redact, redact_error

FRAMES = (
    "No such file or directory: {}",
    "No such file or directory: '{}'",
    "can't read {} (permission denied)",
    'the file "{}" has no mask',
    "{}: invalid header",
    "[Errno 2] failed: {}!",
    "the value={} is not allowed, expected 3",
)
_part = st.text(string.ascii_letters + string.digits + "._- äöüßéø", min_size=3, max_size=20)
_paths = st.tuples(
    st.sampled_from(["/", "C:\\", "~/", "./", "\\\\host\\", "s3://"]), st.lists(_part, min_size=1)
)
_digits = st.text(string.digits, min_size=4, max_size=12)
_bytes = st.binary(min_size=12, max_size=60)


def pieces(text: str) -> list[str]:
    """Return the parts of a secret that say something: what no error message holds by itself."""
    words = re.findall(r"\w{3,}", text)
    return [word for word in words if word not in PLAIN_WORDS and word.lower() not in PLAIN_WORDS]


def assert_gone(secret: str, frame: str) -> None:
    cleared = redact(frame.format(secret))
    kept = re.findall(r"\w{3,}", cleared)
    allowed = set(re.findall(r"\w{3,}", redact(frame.format("?"))))
    assert secret not in cleared
    assert [
        piece for piece in pieces(secret) if piece in kept and piece not in allowed and not piece.isdigit()
    ] == []


@given(_paths, st.sampled_from(FRAMES))
def test_no_path_survives(path: tuple[str, list[str]], frame: str) -> None:
    secret = path[0] + path[0][-1].join(path[1])
    assert_gone(secret, frame)


@given(
    _bytes,
    st.sampled_from([bytes.hex, lambda raw: base64.b64encode(raw).decode(), base64.urlsafe_b64encode]),
    st.sampled_from(FRAMES),
)
def test_no_token_or_key_survives(raw: bytes, encode, frame: str) -> None:
    secret = encode(raw)
    assert_gone(secret if isinstance(secret, str) else secret.decode(), frame)


@given(st.lists(st.integers(0, 99999), min_size=4, max_size=12), st.sampled_from(FRAMES))
def test_no_dicom_uid_survives(numbers: list[int], frame: str) -> None:
    uid = ".".join(map(str, numbers))
    assert uid not in redact(frame.format(uid))


@given(_digits, st.sampled_from(FRAMES))
def test_no_record_number_survives(number: str, frame: str) -> None:
    assert number not in redact(frame.format(number))


@given(st.dates(), st.sampled_from(["%Y-%m-%d", "%d.%m.%Y", "%m/%d/%y", "%Y%m%d", "%d %m %Y", "%d %b %Y"]))
def test_no_date_survives(date, form: str) -> None:
    shown = date.strftime(form)
    cleared = redact(f"the scan of {shown} has no mask")
    assert shown not in cleared
    assert f"{date.year:04}" not in cleared


@given(st.emails(), st.sampled_from(FRAMES))
def test_no_address_survives(address: str, frame: str) -> None:
    assert address not in redact(frame.format(address))


@given(st.text())
def test_anything_can_be_cleared(text: str) -> None:
    cleared = redact(text)
    for word in cleared.replace("…", " ").split():
        bare = word.strip(".,:;!?()[]{}<>")
        assert word.isascii()
        assert bare


@given(st.text())
def test_clearing_again_changes_nothing(text: str) -> None:
    once = redact(text)
    assert redact(once) == once


@pytest.mark.parametrize(
    "text",
    [
        "CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of 139.81 GiB",
        "The size of tensor a (4) must match the size of tensor b (3) at non-singleton dimension 1",
        "mat1 and mat2 shapes cannot be multiplied (8x512 and 256x10)",
        "Expected 3D (unbatched) or 4D (batched) input to conv2d, but got input of size: [2,3,64,64,64]",
        "index 17 is out of bounds for dimension 0 with size 10",
    ],
)
def test_what_helps_stays(text: str) -> None:
    assert redact(text) == text


@pytest.mark.parametrize(
    ("text", "cleared"),
    [
        (
            "patient Mueller born 12 05 1980 MRN 0012345 has no mask in /mnt/x y/z.nii.gz",
            "patient … has no mask in …",
        ),
        ("patient MUELLER^HANS has no mask", "patient … has no mask"),
        ("patient Long has no mask", "patient … has no mask"),
        ("can't be read: it's 1.2.840.10008.5.1 and 'abc def' so", "can't be read: … and … so"),
        ("Authorization: Bearer eyJhbGciOi.abc token=deadbeef", "…"),
        ("connect to 10.0.0.12:9443 or pacs.hospital.org failed", "connect to … or … failed"),
        ("an open quote 'John Smith", "an open …"),
        ("x" * 3000, "…"),
        ("", ""),
    ],
)
def test_what_could_name_somebody_goes(text: str, cleared: str) -> None:
    assert redact(text) == cleared


def test_an_error_keeps_its_type() -> None:
    error = FileNotFoundError(2, "No such file or directory", "/data/p1/scan.png")
    assert redact_error(error) == "FileNotFoundError: [Errno 2] No such file or directory: …"
    assert redact_error(MemoryError()) == "MemoryError"


def test_of_an_error_about_data_no_row_and_no_number_stays() -> None:
    error = DataError("has 3 images of 12 sizes", where="/data/m.csv, row 17", remedy="6 more are wrong.")
    assert redact_error(error) == "DataError: has … images of … sizes"
