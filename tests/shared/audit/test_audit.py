"""The audit log: it survives crashes and crowds, and shows every kind of tampering with its place."""

import json
import multiprocessing
import os
import resource
import signal
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from shared.audit.fields import EVENTS, AuditError
from shared.audit.log import AuditLog, log_files, parse_entry
from shared.audit.verify import entries, verify
from shared.pki.certificates import save_key
from shared.pki.key_file import KeyFile

JOB = "a" * 64
ENTRIES = 12


@pytest.fixture(scope="module")
def key() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP384R1())


@pytest.fixture
def log(tmp_path: Path, key) -> AuditLog:
    """Return a log of 12 entries in three files."""
    log = AuditLog.open(tmp_path / "audit", key)
    for round_ in range(ENTRIES - 3):
        if round_ in {3, 6}:
            log.rotate()
        log.append(
            "reply-sent", job=JOB, phase="train", round=round_, bytes=4000, sha256="b" * 64, examples=17
        )
    return log


def lines_of(folder: Path) -> list[tuple[Path, int]]:
    return [(file, n) for file in log_files(folder) for n in range(len(file.read_bytes().splitlines()))]


def edit(file: Path, change) -> None:
    lines = file.read_bytes().splitlines(keepends=True)
    change(lines)
    file.write_bytes(b"".join(lines))


def test_a_whole_log_has_no_problem(tmp_path: Path, key, log: AuditLog) -> None:
    folder = tmp_path / "audit"
    assert len(log_files(folder)) == 3
    assert [entry.seq for entry in entries(folder)] == list(range(1, ENTRIES + 1))
    assert verify(folder, key.public_key()) == []
    assert verify(folder, key.public_key(), log.head) == []


def test_a_new_file_names_the_last_hash_of_the_old(tmp_path: Path, log: AuditLog) -> None:
    old, new, _ = log_files(tmp_path / "audit")
    last = parse_entry(old.read_bytes().splitlines(keepends=True)[-1])
    first = parse_entry(new.read_bytes().splitlines(keepends=True)[0])
    assert first.event == "file-started"
    assert (first.previous, first.fields["file"]) == (last.hash, old.name)


def test_rotation_by_size(tmp_path: Path, key) -> None:
    log = AuditLog.open(tmp_path, key, rotate_bytes=2000)
    for _ in range(20):
        log.append("service-stopped")
    assert len(log_files(tmp_path)) > 3
    assert all(file.stat().st_size < 4000 for file in log_files(tmp_path))
    assert verify(tmp_path, key.public_key(), log.head) == []


@pytest.mark.parametrize("field", ["seq", "time", "event", "fields", "previous", "hash", "signature"])
def test_a_changed_field_is_found_in_its_line(tmp_path: Path, key, log: AuditLog, field: str) -> None:
    file = log_files(tmp_path / "audit")[1]

    def change(lines: list[bytes]) -> None:
        content = json.loads(lines[2])
        old = content[field]
        content[field] = (
            {"round": 99} if field == "fields" else old + 1 if field == "seq" else old[:-2] + "77"
        )
        lines[2] = json.dumps(content, sort_keys=True, separators=(",", ":")).encode() + b"\n"

    edit(file, change)
    assert (file.name, 3) in [
        (problem.file, problem.line) for problem in verify(tmp_path / "audit", key.public_key())
    ]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=25)
@given(data=st.data())
def test_any_changed_byte_is_found(tmp_path: Path, key, data) -> None:
    folder = tmp_path / "bytes"
    if not folder.exists():
        log = AuditLog.open(folder, key)
        log.append("service-stopped")
        log.append("service-stopped")
    file = log_files(folder)[0]
    whole = file.read_bytes()
    place = data.draw(st.integers(0, len(whole) - 1))
    new = data.draw(st.integers(0, 255).filter(lambda byte: byte != whole[place]))
    file.write_bytes(whole[:place] + bytes([new]) + whole[place + 1 :])
    try:
        problems = verify(folder, key.public_key())
    finally:
        file.write_bytes(whole)
    assert problems[0].line in {whole[:place].count(b"\n") + 1, whole[:place].count(b"\n") + 2}


@pytest.mark.parametrize("place", range(ENTRIES - 1))
def test_a_removed_line_is_found_where_it_was(tmp_path: Path, key, log: AuditLog, place: int) -> None:
    file, line = lines_of(tmp_path / "audit")[place]
    edit(file, lambda lines: lines.pop(line))
    problems = verify(tmp_path / "audit", key.public_key())
    assert f"entry {place + 1} is missing before this one" in str(problems[0])
    where = lines_of(tmp_path / "audit")[place]
    assert (problems[0].file, problems[0].line) == (where[0].name, where[1] + 1)


def test_an_inserted_line_is_found(tmp_path: Path, key, log: AuditLog) -> None:
    file = log_files(tmp_path / "audit")[1]
    edit(file, lambda lines: lines.insert(2, lines[1]))
    assert str(verify(tmp_path / "audit", key.public_key())[0]).startswith(f"{file.name}, line 3: ")


def test_reordered_lines_are_found(tmp_path: Path, key, log: AuditLog) -> None:
    file = log_files(tmp_path / "audit")[0]
    edit(file, lambda lines: lines.insert(1, lines.pop(2)))
    assert [problem.line for problem in verify(tmp_path / "audit", key.public_key())][:2] == [2, 3]


@pytest.mark.parametrize("cut", [1, 4, 7])
def test_a_cut_end_is_found_with_a_head_kept_elsewhere(tmp_path: Path, key, log: AuditLog, cut: int) -> None:
    folder, head = tmp_path / "audit", log.head
    for file, line in lines_of(folder)[::-1][:cut]:
        edit(file, lambda lines, line=line: lines.pop(line))
        if line == 0:
            file.unlink()
    assert verify(folder, key.public_key()) == []  # the reason why a head must be kept elsewhere
    (problem,) = verify(folder, key.public_key(), head)
    assert "was cut off" in problem.what
    assert str(ENTRIES) in problem.what


def test_a_removed_log_is_found_with_a_head(tmp_path: Path, key, log: AuditLog) -> None:
    head = log.head
    for file in log_files(tmp_path / "audit"):
        file.unlink()
    (problem,) = verify(tmp_path / "audit", key.public_key(), head)
    assert "entries 1 to 12 are missing" in problem.what


def test_a_log_that_went_on_after_a_cut_is_found(tmp_path: Path, key, log: AuditLog) -> None:
    folder, head = tmp_path / "audit", log.head
    edit(log_files(folder)[-1], lambda lines: lines.pop())
    log.append("service-stopped")
    assert "the log was rewritten" in str(verify(folder, key.public_key(), head)[0])


def test_a_replaced_file_is_found(tmp_path: Path, key, log: AuditLog) -> None:
    other = AuditLog.open(tmp_path / "other", key)
    for _ in range(20):
        other.append("service-stopped")
    file = log_files(tmp_path / "audit")[1]
    forged = log_files(tmp_path / "other")[0].read_bytes().splitlines(keepends=True)
    file.write_bytes(b"".join(forged[4:8]))
    assert str(verify(tmp_path / "audit", key.public_key())[0]).startswith(
        f"{file.name}, line 1: entry 5 does not follow"
    )


def test_a_forged_signature_is_found(tmp_path: Path, key, log: AuditLog) -> None:
    file = log_files(tmp_path / "audit")[2]
    stranger = ec.generate_private_key(ec.SECP384R1())
    edit(file, lambda lines: lines.__setitem__(1, parse_entry(lines[1]).signed(stranger).line()))
    (problem,) = verify(tmp_path / "audit", key.public_key())
    assert (problem.file, problem.line) == (file.name, 2)
    assert "not signed by the log's key" in problem.what


def test_a_log_of_another_key_is_not_this_sites(tmp_path: Path, key, log: AuditLog) -> None:
    stranger = ec.generate_private_key(ec.SECP384R1())
    assert "another key" in str(verify(tmp_path / "audit", stranger.public_key())[-1])


def test_a_forged_end_with_a_key_of_its_own_is_found(tmp_path: Path, key, log: AuditLog) -> None:
    """A stranger who writes can announce a key, but the log then does not end with the site's."""
    stranger = AuditLog.open(tmp_path / "audit", ec.generate_private_key(ec.SECP384R1()))
    stranger.append("job-approved", job=JOB, user="root")
    assert verify(tmp_path / "audit", key.public_key()) != []


def test_a_renewed_key_keeps_the_log_whole(tmp_path: Path, key, log: AuditLog) -> None:
    new = ec.generate_private_key(ec.SECP384R1())
    AuditLog.open(tmp_path / "audit", new).append("service-started", version="0.2.0")
    assert verify(tmp_path / "audit", new.public_key()) == []


def test_whoever_writes_after_a_change_of_key_signs_with_the_new_one_and_makes_it_known(
    tmp_path: Path,
) -> None:
    """Writers that had the log open before the change, and one that only asks for its head."""
    file, new = tmp_path / "site.key", ec.generate_private_key(ec.SECP384R1())
    save_key(file, ec.generate_private_key(ec.SECP384R1()))
    writers = [AuditLog.open(tmp_path / "audit", KeyFile(file)) for _ in range(3)]
    for log in writers:
        log.append("service-started", version="0.1.0")
    save_key(tmp_path / "new", new)
    (tmp_path / "new").replace(file)
    assert writers[0].head == writers[1].head
    for log in writers:
        log.append("service-stopped")
    writers[0].rotate()
    AuditLog.open(tmp_path / "audit", KeyFile(file)).append("service-started", version="0.1.0")
    assert verify(tmp_path / "audit", new.public_key()) == []
    assert [entry.event for entry in entries(tmp_path / "audit")].count("key-changed") == 1


@pytest.mark.parametrize("kept", [0, 1, 50])
def test_a_torn_line_is_repaired_and_named(tmp_path: Path, key, log: AuditLog, kept: int) -> None:
    folder = tmp_path / "audit"
    file = log_files(folder)[-1]
    whole = file.read_bytes()
    torn = log.append("service-stopped").line()[:kept]
    file.write_bytes(whole + torn)
    if torn:
        assert "not whole" in verify(folder, key.public_key())[0].what
    log.append("service-started", version="0.1.0")
    found = list(entries(folder))[ENTRIES:]
    assert [entry.event for entry in found] == ["torn-line-removed"] * bool(torn) + ["service-started"]
    assert not torn or found[0].fields["torn_bytes"] == kept
    assert verify(folder, key.public_key(), log.head) == []


def test_a_torn_first_line_of_a_file(tmp_path: Path, key, log: AuditLog) -> None:
    folder = tmp_path / "audit"
    (folder / f"audit-{ENTRIES + 1:012}.jsonl").write_bytes(b'{"event":"file-st')
    log.append("service-stopped")
    assert verify(folder, key.public_key(), log.head) == []


def test_a_damaged_log_is_not_written_on(tmp_path: Path, log: AuditLog) -> None:
    file = log_files(tmp_path / "audit")[-1]
    edit(file, lambda lines: lines.__setitem__(-1, b"garbage\n"))
    with pytest.raises(AuditError, match="not an entry"):
        log.append("service-stopped")


def _write(folder: Path, key, number: int) -> None:
    log = AuditLog.open(folder, key, rotate_bytes=5000)
    for _ in range(number):
        log.append("service-stopped")


def test_several_processes_write_one_chain(tmp_path: Path, key) -> None:
    context = multiprocessing.get_context("fork")
    writers = [context.Process(target=_write, args=(tmp_path, key, 15)) for _ in range(4)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert verify(tmp_path, key.public_key()) == []
    assert sum(entry.event == "service-stopped" for entry in entries(tmp_path)) == 60


def test_killed_while_writing_the_chain_goes_on(tmp_path: Path, key) -> None:
    context = multiprocessing.get_context("fork")
    for _ in range(4):
        before = len(list(entries(tmp_path)))
        writer = context.Process(target=_write, args=(tmp_path, key, 10_000))
        writer.start()
        while len(list(entries(tmp_path))) < before + 5:
            assert writer.is_alive()
        os.kill(writer.pid or 0, signal.SIGKILL)
        writer.join()
    log = AuditLog.open(tmp_path, key)
    log.append("service-stopped")
    assert verify(tmp_path, key.public_key(), log.head) == []


def _write_on_a_full_disk(folder: Path, key) -> None:
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    log = AuditLog.open(folder, key)
    size = log_files(folder)[0].stat().st_size
    resource.setrlimit(resource.RLIMIT_FSIZE, (size + 100, size + 100))
    with pytest.raises(AuditError, match="can't be written"):
        log.append("service-stopped")


def test_a_full_disk_is_an_error_and_leaves_a_whole_log(tmp_path: Path, key) -> None:
    writer = multiprocessing.get_context("fork").Process(target=_write_on_a_full_disk, args=(tmp_path, key))
    writer.start()
    writer.join()
    assert writer.exitcode == 0
    assert verify(tmp_path, key.public_key()) == []


def test_what_is_not_on_the_list_is_not_written(tmp_path: Path, log: AuditLog) -> None:
    for event, fields in (
        ("patient-seen", {}),
        ("job-seen", {"patient": "Mueller"}),
        ("reply-sent", {"examples": "Mueller"}),
        ("reply-sent", {"examples": -1}),
        ("job-seen", {"job": 5}),
    ):
        with pytest.raises(AuditError):
            log.append(event, **fields)


def test_values_from_outside_are_cleared(tmp_path: Path, log: AuditLog) -> None:
    log.append(
        "request-failed", job="Hans Mueller", reason="no such file: /data/Mueller/1.dcm", phase="train"
    )
    written = (log_files(tmp_path / "audit")[-1]).read_text(encoding="utf-8")
    assert "Mueller" not in written
    assert "no such file" in written


def test_a_head_that_is_none(tmp_path: Path, key) -> None:
    with pytest.raises(AuditError, match="is not a head"):
        verify(tmp_path, key.public_key(), "latest")


def test_no_log_is_no_whole_log(tmp_path: Path, key) -> None:
    assert [problem.what for problem in verify(tmp_path, key.public_key())] == ["there is no audit log here"]


def test_the_page_on_the_log_names_every_event() -> None:
    page = (Path(__file__).parents[3] / "docs" / "audit.md").read_text(encoding="utf-8")
    assert [event for event in EVENTS if f"`{event}`" not in page] == []
