"""What a run offers is given to sites that are admitted and know its SHA-256, and to nobody else."""

import json
import time
from collections.abc import Iterator
from hashlib import sha256

import pytest

from server.folder.coordinator import MODELS
from server.gateway.model_files import Outbox
from shared.flower.connection import PIECE
from tests.server.gateway.conftest import Credential, Federation, post
from tests.server.gateway.test_bodies import resident

MIB = 2**20
MODEL = bytes(range(256)) * (4 * 4096) + b"tail"  # 4 MiB and a little


@pytest.fixture
def outbox(federation: Federation, site: Credential) -> Iterator[Outbox]:
    with Outbox(federation.folder / MODELS) as made:
        yield made


def ask(federation: Federation, site: Credential, body: object) -> tuple[int, bytes]:
    with federation.connect(site) as connection:
        connection.send(post("/v1/model", site, json.dumps(body).encode()))
        status, _, content = connection.answer()
    return status, content


def test_a_site_gets_what_is_offered_from_where_it_wants(
    federation: Federation, site: Credential, outbox: Outbox
) -> None:
    digest = outbox.put(MODEL)
    assert digest == sha256(MODEL).hexdigest()
    for first in (0, 1, 4 * MIB, len(MODEL), len(MODEL) + 1, 10**30):
        assert ask(federation, site, {"sha256": digest, "first": first}) == (200, MODEL[first:])


def test_a_large_one_comes_in_pieces(federation: Federation, site: Credential, outbox: Outbox) -> None:
    large = bytes(PIECE + 5)
    digest = outbox.put(large)
    assert ask(federation, site, {"sha256": digest, "first": 0}) == (200, large[:PIECE])
    assert ask(federation, site, {"sha256": digest, "first": PIECE}) == (200, large[PIECE:])


def test_what_is_not_offered_any_more_is_not_given(
    federation: Federation, site: Credential, outbox: Outbox
) -> None:
    first, second = outbox.put(MODEL), outbox.put(MODEL[1:])
    outbox.drop_unused()
    outbox.put(MODEL)
    outbox.drop_unused()
    assert ask(federation, site, {"sha256": first, "first": 0})[0] == 200
    assert ask(federation, site, {"sha256": second, "first": 0})[0] == 404


def test_a_run_that_ends_leaves_nothing(federation: Federation, site: Credential) -> None:
    with Outbox(federation.folder / MODELS) as outbox:
        digest = outbox.put(MODEL)
    assert ask(federation, site, {"sha256": digest, "first": 0})[0] == 404
    assert list((federation.folder / MODELS).iterdir()) == []


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"sha256": "0" * 64},
        {"sha256": "0" * 64, "first": -1},
        {"sha256": "0" * 64, "first": 1e99},
        {"sha256": "0" * 63, "first": 0},
        {"sha256": "../../../../../../etc/passwd", "first": 0},
        {"sha256": "*", "first": 0},
        {"sha256": "0" * 64, "first": 0, "more": 1},
        "0" * 64,
    ],
)
def test_a_question_that_makes_no_sense_is_refused(
    federation: Federation, site: Credential, outbox: Outbox, body: object
) -> None:
    outbox.put(MODEL)
    assert ask(federation, site, body)[0] == 400


def test_who_is_not_admitted_gets_nothing(federation: Federation, site: Credential, outbox: Outbox) -> None:
    question = {"sha256": outbox.put(MODEL), "first": 0}
    assert ask(federation, federation.credential("stranger", admitted=False), question)[0] == 403
    revoked = federation.credential("st-mary")
    assert ask(federation, revoked, question)[0] == 200
    federation.edit_site(revoked, state="revoked")
    assert ask(federation, revoked, question)[0] == 403


def test_who_does_not_take_it_is_cut_and_costs_little(
    federation: Federation, site: Credential, outbox: Outbox
) -> None:
    digest = outbox.put(bytes(PIECE))
    body = json.dumps({"sha256": digest, "first": 0}).encode()
    with federation.connect(site) as connection:
        before = resident(federation)
        connection.send(post("/v1/model", site, body))
        connection.read(MIB)
        time.sleep(5)  # nothing but time passes: longer than the gateway waits
        assert resident(federation) - before < 4 * MIB
        assert connection.drain() < PIECE - MIB
    assert ask(federation, site, {"sha256": digest, "first": PIECE - 3}) == (200, bytes(3))
