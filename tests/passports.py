"""Passports that are right but for what a test changes, and who signs them: no run and no site is needed."""

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey

from shared.errors import WardroundError
from shared.passport.check import load_passport, load_root
from shared.passport.documents import FILE, PASSPORT, STATEMENT, PassportContent, Statement, promise_of
from shared.passport.envelope import Envelope
from shared.pki.authority import Authority
from shared.pki.certificate_requests import certificate_request
from shared.pki.certificates import new_key
from shared.wire.packed_model import Entry, Layout
from tests.jobs import make_job

NOW = datetime.now(UTC)
RUN = "tiny-20261126-120000-000"
SITES = ("alpha", "beta", "gamma")
LAYOUT = Layout((Entry("weight", (2, 3)), Entry("bias", (2,))), 8)
TENSORS = {"bias": np.arange(2, dtype=np.float32), "weight": np.ones((2, 3), np.float32)}
PACKED = np.concatenate([TENSORS["weight"].ravel(), TENSORS["bias"]])


def digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


MODELS = {0: digest("first"), 1: digest("model 1"), 2: hashlib.sha256(PACKED.tobytes()).hexdigest()}


@dataclass
class Signer:
    key: EllipticCurvePrivateKey
    certificate: x509.Certificate


class SigningFederation:
    """An authority, a coordinator and sites, as far as they sign."""

    def __init__(self, folder: Path, clock: Callable[[], datetime] = lambda: NOW) -> None:
        self.authority = Authority.create(folder, "lung-eu", "fed.example.org", clock=clock)
        self.root = folder / "ca.crt"
        key = new_key()
        self.coordinator = Signer(key, self.authority.sign_server(key.public_key(), "fed.example.org"))
        self.sites = {site: self.site(site) for site in SITES}

    def site(self, name: str) -> Signer:
        key = new_key()
        return Signer(key, self.authority.sign_site(certificate_request(key, name), name))


def statement(site: str) -> dict[str, Any]:
    job = make_job(job_rounds=2)
    return Statement(
        site=site,
        run=RUN,
        job=job.digest(),
        layout=LAYOUT.digest(),
        time=NOW.isoformat(),
        received=[{"after": after, "model": model} for after, model in MODELS.items()],
        trained=[{"round": number, "update": digest(f"{site} {number}")} for number in (1, 2)],
        judged=[{"round": number, "split": split} for number, split in ((1, "val"), (2, "val"), (2, "test"))],
        promise=promise_of(job, 0),
        log_head=f"12:{digest(site)}",
    ).model_dump(mode="json")


def content(file: Path) -> dict[str, Any]:
    return {
        "federation": "lung-eu",
        "run": RUN,
        "job": make_job(job_rounds=2).canonical(),
        "begun": (NOW - timedelta(hours=1)).isoformat(),
        "time": NOW.isoformat(),
        "first": MODELS[0],
        "rounds": [
            {
                "round": number,
                "model": MODELS[number],
                "updates": {site: digest(f"{site} {number}") for site in SITES},
                "judged": list(SITES),
            }
            for number in (1, 2)
        ],
        "tested_round": 2,
        "tested": list(SITES),
        "parameters": LAYOUT.parameters,
        "tensors": [{"name": entry.name, "shape": list(entry.shape)} for entry in LAYOUT.entries],
        "files": {"model.safetensors": {"sha256": hashlib.sha256(file.read_bytes()).hexdigest(), "round": 2}},
        "without": {},
    }


class Desk:
    """Writes passports that are right but for what a test changes, and says what a check finds."""

    def __init__(self, federation: SigningFederation, folder: Path) -> None:
        self.federation, self.folder = federation, folder
        self.model = folder / "model.safetensors"
        safetensors.numpy.save_file(TENSORS, self.model)
        self.statements = {site: statement(site) for site in SITES}
        self.signers = dict(federation.sites)
        self.coordinator = federation.coordinator
        self.content = content(self.model)

    def write(self) -> Path:
        sealed = {
            site: seal(STATEMENT, Statement, own, self.signers[site]).model_dump(mode="json")
            for site, own in self.statements.items()
        }
        whole = self.content | {"statements": self.content.get("statements", sealed)}
        path = self.folder / FILE
        path.write_text(seal(PASSPORT, PassportContent, whole, self.coordinator).text())
        return path

    def problem(self) -> str:
        with pytest.raises(WardroundError) as refused:
            load_passport(self.write(), load_root(self.federation.root))
        return refused.value.problem


def seal(kind: str, table: Any, content: dict[str, Any], signer: Signer) -> Envelope:
    read = table.model_validate_json(json.dumps(content))
    return Envelope.seal(kind, read, signer.key, signer.certificate)
