"""The local training of the benchmarks as anybody would write it: MONAI and PyTorch, nothing of ours."""

import csv
import multiprocessing
import time
from collections.abc import Iterator
from multiprocessing.synchronize import Barrier, Event
from pathlib import Path

import numpy as np
import torch
from common import Work
from monai.losses import DiceCELoss
from monai.networks.nets import UNet
from PIL import Image
from torch import Tensor, nn

CHANNELS = (16, 32, 64, 128)  # with two residual units a level: an update of 1.6 MB
RESIDUAL_UNITS = 2
LEARNING_RATE = 1e-3


def make_network() -> nn.Module:
    """Return the U-Net that Wardround trains; like it, it lies channels last, which is faster here."""
    network = UNet(
        spatial_dims=2,
        in_channels=1,
        out_channels=2,
        channels=CHANNELS,
        strides=(2,) * (len(CHANNELS) - 1),
        num_res_units=RESIDUAL_UNITS,
        norm=("instance", {"affine": True}),
    )
    return network.to(memory_format=torch.channels_last)


def read_site(manifest: Path, number: int) -> tuple[Tensor, Tensor]:
    """Return a site's images (N, 1, H, W), zero mean and unit variance each, and masks (N, 1, H, W)."""
    with manifest.open(encoding="utf-8", newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["site"] == f"site-{number:03d}"]
    images = np.stack([np.asarray(Image.open(manifest.parent / row["image"])) for row in rows])
    masks = np.stack([np.asarray(Image.open(manifest.parent / row["mask"])) for row in rows])
    pixels = torch.from_numpy(images.astype(np.float32))
    pixels = (pixels - pixels.mean((1, 2), keepdim=True)) / pixels.std((1, 2), keepdim=True)
    return pixels[:, None], torch.from_numpy(masks > 0)[:, None].to(torch.uint8)


def train(network: nn.Module, data: tuple[Tensor, Tensor], work: Work) -> float:
    """Train one site for one round; returns the mean loss."""
    images, masks = data
    optimizer = torch.optim.AdamW(network.parameters(), LEARNING_RATE, weight_decay=0.0, fused=True)
    criterion = DiceCELoss(include_background=False, to_onehot_y=True, softmax=True)
    total = 0.0
    network.train()
    for indices in _batches(len(images), work):
        batch = images[indices].contiguous(memory_format=torch.channels_last)
        loss = criterion(network(batch), masks[indices])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        total += loss.item()
    return total / work.steps


def _batches(count: int, work: Work) -> Iterator[Tensor]:
    left = work.steps
    while left:
        for indices in torch.randperm(count).split(work.batch)[:left]:
            yield indices
            left -= 1


def seconds_of_a_step(work: Work) -> float:
    """Return what a step takes on one undisturbed thread: the fastest of many."""
    torch.set_num_threads(1)
    network, data = make_network(), read_site(work.manifest, 0)
    seconds = []
    for _ in range(20):
        start = time.perf_counter()
        train(network, data, work)
        seconds.append((time.perf_counter() - start) / work.steps)
    return min(seconds)


def spans_of(work: Work, ready: Event, go: Event) -> list[tuple[float, float]]:
    """Do all the training in bare processes; return when each of them began and ended.

    As many processes as there are workers share the sites, and start together: they meet the same memory
    bandwidth and clock rate as workers do.

    Args:
        work: What is trained.
        ready: Set once they could begin.
        go: They wait for it before they begin.
    """
    context = multiprocessing.get_context("spawn")
    barrier, results = context.Barrier(work.workers), context.SimpleQueue()
    processes = [
        context.Process(target=_train_share, args=(work, share, barrier, (ready, go), results))
        for share in range(work.workers)
    ]
    for process in processes:
        process.start()
    taken = [results.get() for _ in processes]
    for process in processes:
        process.join()
    return taken


def _train_share(
    work: Work,
    share: int,
    barrier: Barrier,
    gates: tuple[Event, Event],
    results: "multiprocessing.SimpleQueue[tuple[float, float]]",
) -> None:
    ready, go = gates
    torch.set_num_threads(1)
    network = make_network()
    sites = [read_site(work.manifest, number) for number in range(share, work.sites, work.workers)]
    train(network, sites[0], work)  # the first one allocates and chooses kernels
    barrier.wait()
    ready.set()
    go.wait()
    start = time.monotonic()
    for _ in range(work.rounds):
        for data in sites:
            train(network, data, work)
    results.put((start, time.monotonic()))
