"""An attack for the documentation and the tests: pictures out of one update (no hospital runs this).

A vision transformer adds a learnt position to the embedding of each patch of the image. The gradient of the
positions is then that of the embeddings, G (P, D), and that of the embedding's weights is Gᵀ X (D, N), with
the pixels X (P, N) of the P patches: where there are no more patches than features, X solves a linear system
(Lu et al., CVPR 2022, "APRIL: Finding the Achilles' heel on privacy for vision transformers").
Nothing is guessed, and the labels need not be known.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from client.data.samples.batches import Samples
from client.training.loop import LocalTraining
from shared.errors import JobError
from shared.job.schema import JobSpec, parse_job
from shared.job_parts import network_names
from shared.networks.build import build_model
from shared.privacy.secagg.claims import Claims
from shared.privacy.secagg.client import SecAggClient
from shared.privacy.secagg.records import TRAIN, Header
from shared.privacy.secagg.server import SecAggServer
from shared.seeds import seed_of
from shared.tasks import make_task
from shared.wire.packed_model import Layout
from simulate.data.anatomy import draw_brain
from simulate.session.credentials import simulated_credentials

_WEIGHT = 1  # of each site in a sum

Vector = NDArray[np.float32]


def small_job(side: int) -> JobSpec:
    """Return a job whose update gives its picture away: one step of SGD on one image.

    Args:
        side: Pixels along each axis, a multiple of 8.
    """
    table: dict[str, Any] = {
        "job": {"name": "inversion", "dataset": "phantom", "rounds": 1, "seed": 1},
        "task": {"name": "classification", "classes": ["healthy", "tumour"]},
        "model": {"name": "vit", "patch": 8, "features": 96, "layers": 2, "heads": 4},
        "data": {"size": [side, side], "intensity": "none"},
        "training": {"local_steps": 1, "batch_size": 1, "optimizer": "sgd", "learning_rate": 1.0},
        "strategy": {"name": "fedavg", "weight": "equal", "min_sites": 3},
    }
    return parse_job(table, "inversion")


def phantom_patient(side: int, seed: int) -> Tensor:
    """Return a slice of a drawn head with a tumour, (1, side, side), 0 to 1."""
    generator = np.random.default_rng(seed_of(seed, "inversion"))
    slices, _ = draw_brain(generator, np.array([0.0]), (side, side), tumour=True)
    return torch.from_numpy(slices)


def first_model(job: JobSpec) -> nn.Module:
    """Return the model that the coordinator sends out first."""
    return build_model(job)


def plain_update(job: JobSpec, image: Tensor, site: str) -> Vector:
    """Train as a site does on one image (C, *S) for one round, and return the vector that leaves."""
    model = first_model(job)
    samples = Samples(
        job,
        {"image": image[None], "label": torch.ones(1, dtype=torch.long)},
        patients=["a"],
        keys=["a"],
        spacings=[None],
    )
    LocalTraining(model, make_task(job), samples, job, site=site, device=torch.device("cpu")).run(1)
    return Layout.of(model).pack(model)


def gradient_of(job: JobSpec, update: Vector) -> Vector:
    """Return the gradient behind one step of SGD from the first model."""
    model = first_model(job)
    return (Layout.of(model).pack(model) - update) / np.float32(job.training.learning_rate)


def clipped_and_noised(gradient: Vector, max_norm: float, noise_multiplier: float, seed: int) -> Vector:
    """Return a gradient as a step of DP-SGD has it of one patient (Abadi et al. 2016, algorithm 1)."""
    clipped = gradient * min(1.0, max_norm / float(np.linalg.norm(gradient)))
    noise = np.random.default_rng(seed).standard_normal(gradient.shape)
    return np.asarray(clipped + noise_multiplier * max_norm * noise, dtype=np.float32)


def invert(job: JobSpec, gradient: Vector, cutoff: float = 1e-6) -> Tensor:
    """Return the image (C, *S) that a gradient of a vision transformer was computed on, cut to 0..1.

    Args:
        job: Names the network.
        gradient: As one vector, as in `Layout`.
        cutoff: Directions of the positions' gradient below this share of the strongest are taken for noise.

    Raises:
        JobError: The network is another one.
    """
    if network_names(job) != ("vit",):
        raise JobError(f"the attack is on 'vit', not on '{' and '.join(network_names(job))}'")
    entries = Layout.of(first_model(job)).state_dict(gradient)
    named = {name.rpartition("patch_embedding.")[2]: value.double() for name, value in entries.items()}
    weights = named["patch_embeddings.weight"]  # (D, C, p, p)
    positions = named["position_embeddings"][0]  # (P, D)
    inverse = torch.linalg.pinv(positions.T, rtol=cutoff)
    return _joined(inverse @ weights.flatten(1), job, weights.shape[1:]).float().clamp(0, 1)


def _joined(pixels: Tensor, job: JobSpec, patch: Sequence[int]) -> Tensor:
    """Lay patches (P, C · p · p) side by side to an image (C, H, W)."""
    channels, height, width = patch
    size = job.data.size or []
    rows, columns = size[0] // height, size[1] // width
    tiles = pixels.view(rows, columns, channels, height, width)
    return tiles.permute(2, 0, 3, 1, 4).reshape(channels, *size)


def masked_and_summed(job: JobSpec, updates: dict[str, Vector]) -> tuple[dict[str, Vector], Vector]:
    """Carry updates through secure aggregation, and return what the coordinator sees of it.

    Args:
        job: Of all sites.
        updates: By site, three at least.

    Returns:
        What each site sent, read as an update, and the mean of all updates.
    """
    header = Header(bytes.fromhex(job.digest()), 1, bytes(32), TRAIN, bytes(32))
    claims = Claims(_WEIGHT, patients=1)
    size = len(next(iter(updates.values())))
    server = SecAggServer(header, size)
    clients = {}
    for site in updates:
        credentials = simulated_credentials(site)
        clients[site] = SecAggClient(
            credentials.identity, credentials.trust, header, claims, least=len(updates)
        )
        server.take_keys(site, clients[site].advertise())
    roster = server.roster()
    for site, client in clients.items():
        server.take_shares(site, client.share(roster))
    seen = {}
    inboxes = server.inboxes()
    for site, client in clients.items():
        client.open(inboxes[site])
        masked = client.mask(client.codec.encode(updates[site], _WEIGHT, float("nan")))
        server.take_masked(site, masked)
        steps = masked[:size].view(np.int64).astype(np.float64)
        seen[site] = (steps * 2.0**-client.codec.fraction_bits / _WEIGHT).astype(np.float32)
    outcome = server.outcome()
    for site, client in clients.items():
        server.take_signature(site, client.agree(outcome))
    agreement = server.agreement()
    for site, client in clients.items():
        server.take_reveal(site, client.reveal(agreement))
    return seen, server.mean().vector
