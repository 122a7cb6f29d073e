"""What a site may bring: as much as the run that asked it waits for, and nothing where none did."""

import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest
from flwr.app import RecordDict

from server.folder.coordinator import ANSWERS
from server.gateway.answer_files import Inbox, file_name
from server.gateway.expected_answers import Allowances
from shared.flower.stored import put_in, take_out
from shared.strategies.exact_mean import ExactMean
from shared.wire.messages import ARRAYS, read_vector, vector_record

from .conftest import Credential, Federation, Upstream, post

MIB = 2**20
PUSH, PIECE = "/v1/fleet/push-messages", "/v1/fleet/push-object"


def push(federation: Federation, site: Credential, size: int, path: str = PUSH) -> int:
    with federation.connect(site) as connection:
        with suppress(OSError):  # cut while it is still being sent
            connection.send(post(path, site, bytes(size)))
        return connection.answer()[0]


@pytest.mark.parametrize("path", [PUSH, PIECE])
def test_without_a_run_nothing_is_taken(federation: Federation, site: Credential, upstream: Upstream, path):
    assert push(federation, site, 10, path) == 403
    with federation.run(another_site=MIB):
        assert push(federation, site, 10, path) == 403
    assert upstream.paths == []


def test_an_answer_is_taken_and_what_is_larger_is_not(federation, site, upstream):
    with federation.run(st_mary=1000):
        assert push(federation, site, 2001) == 413
        assert push(federation, site, 1000) == 200
        assert push(federation, site, 1000) == 200  # the receipt of the first was lost
        assert push(federation, site, 1) == 413
    assert push(federation, site, 1) == 403
    assert upstream.paths == [PUSH, PUSH]
    reasons = {entry["reason"] for entry in federation.audit("site-request-refused")}
    assert {
        "no run waits for an answer of this site",
        "the answer is larger than the model allows",
    } <= reasons


def test_pieces_add_up(federation, site, upstream):
    with federation.run(st_mary=20 * MIB):
        taken = 0
        while push(federation, site, 5 * MIB, PIECE) == 200:
            taken += 5
        assert taken == 35  # 20, and 16 for what is brought again


def test_pieces_without_a_length_add_up_too(federation, site, upstream):
    head = post(PIECE, site, more=b"Transfer-Encoding: chunked\r\n").replace(b"Content-Length: 0\r\n", b"")
    with federation.run(st_mary=MIB), federation.connect(site) as connection:
        connection.send(head)
        sent = connection.send_until_cut(b"10000\r\n" + bytes(2**16) + b"\r\n")
    assert sent < 200


def test_what_was_broken_off_does_not_count(federation, site, upstream):
    with federation.run(st_mary=1000):
        for _ in range(5):
            upstream.aborted.clear()
            with federation.connect(site) as connection:
                connection.send(post(PUSH, site, bytes(900), length=1000))
            assert upstream.aborted.wait()
        assert push(federation, site, 1000) == 200


def test_a_new_question_takes_the_place_of_the_last(federation, site):
    with federation.run(st_mary=1000) as rope:
        assert push(federation, site, 2000) == 200
        rope.expect(100, {"st-mary": ["b" * 64]})
        while (status := push(federation, site, 150)) == 413:  # until the gateway has heard
            continue
        assert status == 200
        assert push(federation, site, 100) == 413


def awaited(federation, site, body: bytes) -> int:
    with federation.connect(site) as connection:
        connection.send(post("/v1/awaited", site, body))
        return connection.answer()[0]


def test_a_site_learns_whether_its_answer_is_still_waited_for(federation, site):
    message = b'{"message": "' + b"a" * 64 + b'"}'
    assert awaited(federation, site, message) == 404
    with federation.run(st_mary=1000):
        assert awaited(federation, site, message) == 204
        assert awaited(federation, site, message.replace(b"aaaa", b"bbbb")) == 404
        for body in (b"", b"{}", b'{"message": 1}', b'{"message": "../x"}', message[:-1] + b', "more": 1}'):
            assert awaited(federation, site, body) == 400
    while awaited(federation, site, message) != 404:  # until the gateway has heard
        continue


def test_two_runs_add_up_and_a_request_that_ends_gives_back_what_it_took():
    allowances = Allowances()
    allowances.allow("a", 100, {"site": ["1"]})
    allowances.allow("b", 50, {"site": ["2"], "other": ["3"]})
    charge = allowances.charge("site")
    assert charge.left == 300
    assert charge.take(250)
    assert not charge.take(51)
    charge.close()
    assert allowances.charge("site").left == 300
    whole = allowances.charge("site")
    assert whole.take(250)
    whole.whole = True
    whole.close()
    assert allowances.charge("site").left == 50
    allowances.end("b")
    assert allowances.charge("site").left == 0
    assert not allowances.charge("nobody").is_open


def bring(federation, site, body: bytes, *, first=0, digest="d" * 64, question="a" * 64) -> int:
    head = {"question": question, "sha256": digest, "first": first}
    more = "".join(f"wardround-{name}: {value}\r\n" for name, value in head.items()).encode()
    with federation.connect(site) as connection:
        connection.send(post("/v1/answer", site, body, more=more))
        return connection.answer()[0]


def test_a_large_answer_comes_as_a_file_that_goes_with_its_run(federation, site, upstream):
    folder = federation.folder / ANSWERS
    assert bring(federation, site, b"no run") == 403
    with federation.run(st_mary=1000):
        assert bring(federation, site, b"one ") == 204
        assert bring(federation, site, b"two", first=4) == 204
        assert bring(federation, site, b"too", first=4) == 204  # the receipt of the first was lost
        assert bring(federation, site, b"four", first=8) == 409
        assert bring(federation, site, b"another question", question="b" * 64) == 403
        assert bring(federation, site, bytes(1991)) == 413
        for wrong in ("../../../../etc/passwd", "D" * 64, "d" * 63, ""):
            assert bring(federation, site, b"bad", digest=wrong) == 400
        (file,) = folder.iterdir()
        assert file.name == file_name("st-mary", "a" * 64, "d" * 64)
        assert file.read_bytes() == b"one too"
    while list(folder.iterdir()):  # until the gateway has heard
        continue
    assert upstream.paths == []


def test_who_was_not_asked_brings_no_file(federation, site):
    with federation.run(another_site=1000):
        assert bring(federation, site, b"unasked") == 403


def brought(folder: Path, data: bytes) -> tuple[Inbox, str, Path]:
    digest = sha256(data).hexdigest()
    path = folder / file_name("st-mary", "a" * 64, digest)
    path.write_bytes(data)
    return Inbox(folder), digest, path


def test_what_a_run_has_taken_stays_as_it_was_checked(tmp_path):
    inbox, digest, path = brought(tmp_path, b"checked")
    data = inbox.take("st-mary", "a" * 64, digest, 7)
    assert list(tmp_path.iterdir()) == []
    path.write_bytes(b"changed")  # by a site that brings it once more
    assert bytes(data) == b"checked"


def test_what_was_not_brought_or_is_something_else_is_not_taken(tmp_path):
    inbox, digest, path = brought(tmp_path, b"brought")
    path.write_bytes(b"damaged")
    with pytest.raises(ValueError, match="came damaged"):
        inbox.take("st-mary", "a" * 64, digest, 7)
    path.write_bytes(b"brought")
    for site, question, size in (("st-luke", "a" * 64, 7), ("st-mary", "b" * 64, 7)):
        with pytest.raises(ValueError, match="has not come"):
            inbox.take(site, question, digest, size)
    with pytest.raises(ValueError, match="came damaged"):
        inbox.take("st-mary", "a" * 64, digest, 8)


@contextmanager
def tracing() -> Iterator[Callable[[], int]]:
    """Give what says how many bytes were allocated at most in this block."""
    tracemalloc.start()
    try:
        yield lambda: peak
    finally:
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()


def test_an_update_from_a_file_is_added_without_a_copy(tmp_path):
    """The sum takes two copies of the model, a look at each number a quarter; the answer itself none."""
    vector = np.random.default_rng(0).normal(size=2**20).astype(np.float32)
    names: dict[str, bytes] = {}

    def store(data: bytes) -> str:
        digest = sha256(data).hexdigest()
        names[digest] = data
        return digest

    named = take_out(RecordDict({ARRAYS: vector_record(vector)}), store)
    (data,) = names.values()
    inbox, _, _ = brought(tmp_path, data)
    names.clear()
    del data
    with tracing() as peak:
        mean = ExactMean(vector.size)
        whole = put_in(named, lambda digest, size: inbox.take("st-mary", "a" * 64, digest, size))
        mean.add(read_vector(whole[ARRAYS], vector.size), 1)
    assert peak() < 2.5 * vector.nbytes
    assert (mean.mean() == vector).all()
