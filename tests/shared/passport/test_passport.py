"""A passport holds as it was signed, by whom, and for the run of which it is; whatever else is named."""

import base64
import json
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import numpy as np
import pytest
import safetensors.numpy

from shared.errors import WardroundError
from shared.passport.check import check_model, load_passport, load_root
from shared.passport.envelope import Envelope
from shared.pki.certificates import pem_of
from tests.jobs import make_job
from tests.passports import NOW, SITES, TENSORS, Desk, SigningFederation, content, digest

Change = Callable[[dict[str, Any]], object]


@pytest.fixture(scope="module")
def federation(tmp_path_factory) -> SigningFederation:
    return SigningFederation(tmp_path_factory.mktemp("lung-eu"))


@pytest.fixture(scope="module")
def stranger(tmp_path_factory) -> SigningFederation:
    """Another federation of the same name, and the same sites."""
    return SigningFederation(tmp_path_factory.mktemp("other"))


@pytest.fixture(scope="module")
def past(tmp_path_factory) -> SigningFederation:
    return SigningFederation(tmp_path_factory.mktemp("past"), lambda: NOW - timedelta(days=200))


@pytest.fixture
def desk(federation, tmp_path) -> Desk:
    return Desk(federation, tmp_path)


def test_it_says_who_took_part_and_that_the_file_is_the_runs(desk) -> None:
    passport = load_passport(desk.write(), load_root(desk.federation.root))
    assert passport.sites == list(SITES)
    assert passport.trained_in("beta") == [1, 2]
    assert check_model(passport, desk.model).round == 2
    assert passport.sent_to(2) == list(SITES)


def test_a_lost_site_has_none_and_that_is_said(desk) -> None:
    del desk.statements["beta"]
    desk.content["without"] = {"beta": "gave no answer"}
    passport = load_passport(desk.write(), load_root(desk.federation.root))
    assert passport.content.without == {"beta": "gave no answer"}
    assert passport.sent_to(2) == ["alpha", "gamma"]


def removed_round(content: dict[str, Any]) -> None:
    del content["rounds"][1]
    content |= {"tested_round": 1, "tested": [], "files": {}}


def removed_site(content: dict[str, Any], site: str) -> None:
    for one in content["rounds"]:
        del one["updates"][site]
        one["judged"].remove(site)
    content["tested"].remove(site)


FORGED: dict[str, tuple[Change, str]] = {
    "an unsigned site": (lambda own: own["statements"].pop("beta"), "beta took part, and signs nothing"),
    "the last round": (removed_round, "alpha signs that it trained in round 2, which is missing"),
    "the first round": (lambda own: own["rounds"].pop(0), "round 1 is missing"),
    "a site's part": (
        lambda own: own["rounds"][1]["updates"].update(beta=digest("other")),
        "beta does not sign the update of round 2",
    ),
    "who never trained": (
        lambda own: own["rounds"][1]["updates"].update(delta=digest("other")),
        "delta took part, and signs nothing",
    ),
    "a model on the way": (
        lambda own: own["rounds"][0].update(model=digest("other")),
        "alpha signs that it was sent another model after round 1",
    ),
    "the layout": (lambda own: own["tensors"].reverse(), "alpha signs another layout"),
    "the job": (
        lambda own: own.update(job=make_job(job_rounds=2, job_seed=9).canonical()),
        "the statement of alpha is of another run or job",
    ),
    "the run": (lambda own: own.update(run="another"), "the statement of alpha is of another run or job"),
    "another site's": (
        lambda own: own["statements"].update(beta=own["statements"]["alpha"]),
        "the statement of beta is signed by 'alpha'",
    ),
    "a site, but not its statement": (
        lambda own: removed_site(own, "beta"),
        "beta signs that it took part, and the coordinator that it did not",
    ),
    "that a site signed nothing": (
        lambda own: own.update(without={"beta": "refused"}),
        "beta has a statement, and the coordinator a reason",
    ),
    "a site that was not there": (
        lambda own: own.update(without={"zeta": "refused"}),
        "zeta is said to have signed nothing, and took no part",
    ),
    "the time": (lambda own: own.update(begun=(NOW + timedelta(days=1)).isoformat()), "before the run began"),
    "the federation": (lambda own: own.update(federation="heart-us"), "the root certificate another"),
}


def test_an_update_that_is_in_no_model_is_said(desk) -> None:
    del desk.content["rounds"][0]["updates"]["beta"]
    passport = load_passport(desk.write(), load_root(desk.federation.root))
    assert passport.trained_in("beta") == [2]
    assert passport.not_taken("beta") == [1]
    assert passport.not_taken("alpha") == []


def test_a_run_that_began_in_the_year_1_is_compared(desk) -> None:
    desk.content["begun"] = "0001-01-01T00:00:00+00:00"
    assert load_passport(desk.write(), load_root(desk.federation.root)).sites == list(SITES)


@pytest.mark.parametrize(
    "job", ['{"job": {"rounds": 1e999}}', '{"job": {"rounds": 2}, "model": []}', "[]", "{"]
)
def test_a_job_that_is_none_is_said_to_be_none(desk, job) -> None:
    desk.content |= {"job": job}
    assert "its job can't be read" in desk.problem()


@pytest.mark.parametrize("what", FORGED)
def test_a_coordinator_can_sign_nothing_that_its_sites_do_not(desk, what) -> None:
    """The worst case: it is the coordinator that lies, and its signature is right."""
    change, said = FORGED[what]
    whole = json.loads(base64.b64decode(Envelope.parse(desk.write().read_bytes()).payload))
    desk.content["statements"] = whole["statements"]
    change(desk.content)
    assert said in desk.problem()


def test_each_signature_is_of_its_own_federation_purpose_and_time(desk, stranger, past) -> None:
    cases = {
        "when it was signed, the certificate is not signed by": stranger.sites["beta"],
        "the statement of beta is signed by 'alpha'": desk.federation.sites["alpha"],
        "the statement of beta is signed with a certificate that is for another": desk.federation.coordinator,
    }
    for said, signer in cases.items():
        desk.signers["beta"] = signer
        assert said in desk.problem()
    desk.signers["beta"] = desk.coordinator = desk.federation.sites["beta"]
    assert "is signed with a certificate that is for another purpose" in desk.problem()
    desk.coordinator = stranger.coordinator
    assert "not signed by this federation's authority" in desk.problem()
    ended = Desk(past, desk.folder)
    assert "the statement of alpha when it was signed, the certificate is valid from" in ended.problem()


def test_every_byte_of_it_is_signed(desk) -> None:
    path = desk.write()
    before, root = path.read_bytes(), load_root(desk.federation.root)
    for place in range(0, len(before), 97):
        changed = bytearray(before)
        changed[place] ^= 1
        path.write_bytes(changed)
        with pytest.raises(WardroundError):
            load_passport(path, root)
    path.write_bytes(before)
    load_passport(path, root)


def test_another_file_is_not_the_runs(desk) -> None:
    passport = load_passport(desk.write(), load_root(desk.federation.root))
    content = bytearray(desk.model.read_bytes())
    content[-1] ^= 1
    desk.model.write_bytes(content)
    with pytest.raises(WardroundError, match="is not a model of the run"):
        check_model(passport, desk.model)


def test_a_coordinator_can_release_no_numbers_that_it_did_not_send(desk) -> None:
    safetensors.numpy.save_file(TENSORS | {"bias": np.zeros(2, np.float32)}, desk.model)
    desk.content = content(desk.model)
    passport = load_passport(desk.write(), load_root(desk.federation.root))
    with pytest.raises(WardroundError, match="does not hold the numbers of round 2"):
        check_model(passport, desk.model)


def test_what_never_travelled_may_be_in_the_model_of_a_job_that_starts_from_weights(desk) -> None:
    safetensors.numpy.save_file(TENSORS | {"base": np.zeros(3, np.float32)}, desk.model)
    desk.content = content(desk.model)
    with pytest.raises(WardroundError, match="does not hold the numbers of round 2"):
        check_model(load_passport(desk.write(), load_root(desk.federation.root)), desk.model)

    job = make_job(job_rounds=2, model_start="given", model_start_sha256="ab" * 32)
    for own in desk.statements.values():
        own["job"] = job.digest()
    desk.content |= {"job": job.canonical()}
    assert check_model(load_passport(desk.write(), load_root(desk.federation.root)), desk.model).round == 2
    changed = TENSORS | {"base": np.zeros(3, np.float32), "bias": np.zeros(2, np.float32)}
    safetensors.numpy.save_file(changed, desk.model)
    desk.content = content(desk.model) | {"job": job.canonical()}
    with pytest.raises(WardroundError, match="does not hold the numbers of round 2"):
        check_model(load_passport(desk.write(), load_root(desk.federation.root)), desk.model)


@pytest.mark.parametrize("kind", [("F64", 8), ("C64", 8), ("I32", 4), ("BF16", 2), ("F8_E4M3", 1)])
def test_numbers_of_another_kind_are_not_those_that_were_sent(desk, kind) -> None:
    """Cast to float32 they would be; who loads the file has others, or none."""
    name, size = kind
    header, content_, at = {}, b"", 0
    for tensor, numbers in TENSORS.items():
        as_numpy = {"F64": np.float64, "C64": np.complex64, "I32": np.int32}.get(name)
        own = numbers.astype(as_numpy).tobytes() if as_numpy else bytes(size * numbers.size)
        header[tensor] = {"dtype": name, "shape": list(numbers.shape), "data_offsets": [at, at + len(own)]}
        content_, at = content_ + own, at + len(own)
    head = json.dumps(header).encode()
    desk.model.write_bytes(len(head).to_bytes(8, "little") + head + content_)
    desk.content = content(desk.model)
    passport = load_passport(desk.write(), load_root(desk.federation.root))
    with pytest.raises(WardroundError, match=r"does not hold the numbers|can't be read as a model"):
        check_model(passport, desk.model)


def test_a_root_is_an_authority(desk, tmp_path) -> None:
    (tmp_path / "site.crt").write_bytes(pem_of(desk.federation.sites["alpha"].certificate))
    with pytest.raises(WardroundError, match="is not the certificate of a federation's authority"):
        load_root(tmp_path / "site.crt")
