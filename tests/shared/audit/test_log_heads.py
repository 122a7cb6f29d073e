"""A log that has grown can show it; one that was cut, rewritten or put back can't, however long it is now."""

import shutil
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.audit import newest_first
from shared.audit.chain import grew, holds
from shared.audit.log import AuditLog, log_files
from shared.audit.log_heads import Grown, statement
from shared.pki.certificates import new_key, openssh

KEY = new_key()


def grow(log: AuditLog, entries: int, name: str = "job") -> list[str]:
    """Write entries; returns the head after each. Logs that differ need another name."""
    return [log.append("job-seen", job="0" * 64, name=f"{name}-{number}").head for number in range(entries)]


@pytest.mark.parametrize("rotate_bytes", [1, 2000, 2**20])
@pytest.mark.parametrize("block", [16, 500, 2**16])
def test_every_head_of_a_log_is_in_it_and_grew_to_every_later_one(tmp_path, monkeypatch, rotate_bytes, block):
    monkeypatch.setattr(newest_first, "_BLOCK", block)
    log = AuditLog.open(tmp_path, KEY, rotate_bytes)
    heads = [log.head, *grow(log, 8)]
    for earlier, head in enumerate(heads):
        assert holds(tmp_path, head)
        assert all(grew(tmp_path, head, later) for later in heads[earlier:])
        assert not any(grew(tmp_path, head, before) for before in heads[:earlier])


@settings(max_examples=25, deadline=None)
@given(kept=st.integers(1, 6), lost=st.integers(1, 4), padding=st.integers(0, 12))
def test_a_log_that_was_put_back_and_padded_shows_nothing(tmp_path_factory, kept, lost, padding):
    folder: Path = tmp_path_factory.mktemp("log")
    log = AuditLog.open(folder / "log", KEY)
    first = grow(log, kept)[-1]
    shutil.copytree(folder / "log", folder / "old")
    known = grow(log, lost)[-1]
    shutil.rmtree(folder / "log")
    shutil.copytree(folder / "old", folder / "log")
    heads = [first, *grow(AuditLog.open(folder / "log", KEY), padding, "padding")]
    assert not holds(folder / "log", known)
    assert not any(grew(folder / "log", known, head) for head in heads)
    assert grew(folder / "log", first, heads[-1])


def test_an_entry_that_was_changed_on_the_way_shows(tmp_path):
    log = AuditLog.open(tmp_path, KEY)
    heads = grow(log, 5)
    [file] = log_files(tmp_path)
    file.write_bytes(file.read_bytes().replace(b"job-2", b"job-9"))
    assert not grew(tmp_path, heads[0], heads[-1])
    assert not holds(tmp_path, heads[2])
    assert grew(tmp_path, heads[3], heads[-1])


def test_half_a_line_at_the_end_is_no_entry(tmp_path):
    log = AuditLog.open(tmp_path, KEY)
    heads = grow(log, 3)
    [file] = log_files(tmp_path)
    with file.open("ab") as stream:
        stream.write(b'{"event":"job')
    assert grew(tmp_path, heads[0], heads[-1])


def test_the_last_entry_of_a_file_in_the_archive_is_known_by_the_next(tmp_path):
    log = AuditLog.open(tmp_path, KEY)
    head, earlier = grow(log, 2)[::-1]
    log.rotate()
    log_files(tmp_path)[0].unlink()
    assert holds(tmp_path, head)
    assert grew(tmp_path, head, log.head)
    assert not holds(tmp_path, earlier)


def test_only_the_sites_key_signs_that_its_log_grew(tmp_path):
    log = AuditLog.open(tmp_path, KEY)
    before, head = grow(log, 2)
    grown = Grown(head, before, log.sign(statement(before, head)))
    key, another = openssh(KEY.public_key()), openssh(new_key().public_key())
    assert grown.is_signed_by([another, key])
    assert not grown.is_signed_by([another])
    assert not Grown(before, before, grown.signature).is_signed_by([key])
    assert not Grown(head, head, grown.signature).is_signed_by([key])
    for signature in ("", "x", "AAAA"):
        assert not Grown(head, before, signature).is_signed_by([key])
