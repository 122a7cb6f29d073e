"""Bodies that pass, and those that are too large, too slow or not what they say."""

import time
from hashlib import sha256

import psutil
import pytest

from .conftest import Credential, Federation, Upstream, post

MIB = 2**20
PUSH = "/v1/fleet/push-object"
PULL = "/v1/fleet/pull-messages"


def chunked(path: str, credential: Credential) -> bytes:
    request = post(path, credential, more=b"Transfer-Encoding: chunked\r\n")
    return request.replace(b"Content-Length: 0\r\n", b"")


def resident(federation: Federation) -> int:
    return psutil.Process(federation.process.pid).memory_info().rss


@pytest.mark.parametrize("framing", ["length", "chunks"])
def test_50_mb_pass_in_little_memory(federation: Federation, site: Credential, framing: str) -> None:
    block = bytes(range(256)) * 4096
    with federation.run(st_mary=60 * MIB), federation.connect(site) as connection:
        connection.send(post(PUSH, site, block))
        assert connection.answer()[0] == 200
        before = peak = resident(federation)
        digest = sha256()
        chunks = framing == "chunks"
        connection.send(chunked(PUSH, site) if chunks else post(PUSH, site, length=50 * MIB))
        for _ in range(50):
            connection.send(b"100000\r\n" if chunks else b"", block, b"\r\n" if chunks else b"")
            digest.update(block)
            peak = max(peak, resident(federation))
        connection.send(b"0\r\n\r\n" if chunks else b"")
        assert connection.answer()[2].decode() == f"{50 * MIB} {digest.hexdigest()}"
    assert peak - before < 8 * MIB


def test_50_mb_come_back_in_little_memory(federation: Federation, site: Credential) -> None:
    with federation.connect(site) as connection:
        before = peak = resident(federation)
        connection.send(post("/v1/fleet/pull-object", site, str(50 * MIB).encode()))
        for _ in range(50):
            connection.read(MIB)
            peak = max(peak, resident(federation))
    assert peak - before < 8 * MIB


def test_nothing_is_read_ahead_of_a_reader_that_pauses_and_a_lasting_pause_ends_it(
    federation: Federation, site: Credential
) -> None:
    with federation.connect(site) as connection:
        before = resident(federation)
        connection.send(post("/v1/fleet/pull-object", site, str(50 * MIB).encode()))
        connection.read(MIB)
        time.sleep(5)  # nothing but time passes: longer than the gateway waits
        assert resident(federation) - before < 8 * MIB
        assert connection.drain() < 49 * MIB


@pytest.mark.parametrize(("path", "size"), [(PUSH, 64 * MIB + 1), (PULL, MIB + 1), (PUSH, 10**30)])
def test_a_body_announced_too_large_is_refused_before_it_is_read(
    federation: Federation, site: Credential, upstream: Upstream, path: str, size: int
) -> None:
    with federation.run(st_mary=2**40), federation.connect(site) as connection:
        connection.send(post(path, site, length=size))
        assert connection.answer()[0] in {400, 413}
        assert connection.ended()
    assert upstream.paths == []


def test_an_endless_body_is_cut_on_both_sides(
    federation: Federation, site: Credential, upstream: Upstream
) -> None:
    upstream.aborted.clear()
    with federation.connect(site) as connection:
        connection.send(chunked(PULL, site))
        assert connection.send_until_cut(b"100000\r\n" + bytes(MIB) + b"\r\n") < 200
    assert upstream.aborted.wait()


@pytest.mark.parametrize("sent", [b"", b"P", b"POST /v1/fleet/pull-messages HTTP/1.1\r\nHost:"])
def test_a_head_that_does_not_come_is_cut(federation: Federation, site: Credential, sent: bytes) -> None:
    start = time.monotonic()
    with federation.connect(site) as connection:
        connection.send(sent)
        assert connection.ended()
        assert time.monotonic() - start >= 1


def test_a_head_that_drips_is_cut_also_as_second_request(federation: Federation, site: Credential) -> None:
    with federation.connect(site) as connection:
        connection.send(post(PULL, site))
        assert connection.answer()[0] == 200
        start = time.monotonic()
        connection.send_until_cut(b"x", every=0.1)
        assert time.monotonic() - start >= 1


def test_a_body_that_stops_is_cut(federation: Federation, site: Credential, upstream: Upstream) -> None:
    upstream.aborted.clear()
    with federation.connect(site) as connection:
        connection.send(post(PULL, site, b"abc", length=1000))
        assert connection.answer()[0] == 408
        assert connection.ended()
    assert upstream.aborted.wait()


def test_a_body_that_drips_is_cut(federation: Federation, site: Credential) -> None:
    with federation.connect(site) as connection:
        start = time.monotonic()
        connection.send(post(PULL, site, length=1000))
        connection.send_until_cut(b"x", every=0.1)
        assert time.monotonic() - start >= 2


def test_a_site_that_leaves_in_the_middle_ends_the_request_behind(
    federation: Federation, site: Credential, upstream: Upstream
) -> None:
    upstream.aborted.clear()
    with federation.connect(site) as connection:
        connection.send(post(PULL, site, b"abc", length=1000))
    assert upstream.aborted.wait()


SMUGGLED = b"0\r\n\r\nPOST /v1/control/start-run HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n"
LENGTH = b"Content-Length: 0\r\n"


@pytest.mark.parametrize(
    "lines",
    [
        b"Content-Length: 6\r\nTransfer-Encoding: chunked\r\n",
        b"Transfer-Encoding: chunked\r\nContent-Length: 6\r\n",
        b"Content-Length: 6\r\nContent-Length: 79\r\n",
        b"Content-Length: 6, 79\r\n",
        b"Content-Length: +6\r\n",
        b"Content-Length: 0x6\r\n",
        b"Content-Length: -1\r\n",
        b"Content-Length : 6\r\n",
        b"Transfer-Encoding: xchunked\r\n",
        b"Transfer-Encoding: chunked, identity\r\n",
        b"Transfer-Encoding: gzip, chunked\r\n",
        b"Transfer-Encoding : chunked\r\n",
        b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n",
        b"Transfer-Encoding:\x0bchunked\r\n",
        b"X: a\nTransfer-Encoding: chunked\r\nContent-Length: 6\r\n",
        b"X: a\x00b\r\nContent-Length: 6\r\n",
        b"X: " + b"a" * 20000 + b"\r\nContent-Length: 6\r\n",
        b"X: a\r\n" * 5000 + b"Content-Length: 6\r\n",
    ],
)
def test_an_ambiguous_frame_is_refused(
    federation: Federation, site: Credential, upstream: Upstream, lines: bytes
) -> None:
    with federation.connect(site) as connection:
        connection.send(post(PULL, site).replace(LENGTH, lines), SMUGGLED)
        status = connection.answer()[0]
        assert status in {0, 400, 413, 431, 501}
        assert connection.ended()
    assert upstream.paths == []


def test_bytes_after_a_body_are_the_next_request_and_judged_as_one(
    federation: Federation, site: Credential, upstream: Upstream
) -> None:
    with federation.connect(site) as connection:
        connection.send(post(PULL, site, b"abc"), SMUGGLED[5:])
        assert connection.answer()[0] == 200
        assert connection.answer()[0] == 404
        assert connection.ended()
    assert upstream.paths == [PULL]


@pytest.mark.parametrize(
    "rest", [b"-1\r\n", b"F" * 40 + b"\r\n", b"zz\r\n", b"1\r\naa\r\n", b"0;" + b"a" * 30_000]
)
def test_a_body_that_breaks_off_into_nonsense_is_refused(
    federation: Federation, site: Credential, rest: bytes
) -> None:
    with federation.connect(site) as connection:
        connection.send(chunked(PULL, site), b"3\r\nabc\r\n", rest)
        assert connection.answer()[0] in {0, 400}
        assert connection.ended()
