"""Which runs a series consists of."""

from collections.abc import Sequence

import numpy as np

from client.settings.site import SiteConfig
from shared.errors import RunError
from shared.job.schema import JobSpec
from shared.seeds import seed_of
from shared.series import Kind, Member, Variant

ALL = "all"
SHARES = (0.1, 0.2, 0.4, 0.7, 1.0)
"""Of the patients, in a learning curve: each about twice the one before."""
_LONGEST = 40  # characters of a site's name in that of a run


def variants_of(kind: Kind, job: JobSpec, sites: Sequence[str], held_out: Sequence[str]) -> list[Variant]:
    """Return the variants of a kind of series.

    Args:
        kind: See `Series`.
        job: Its seed draws the order of the sites.
        sites: All of them.
        held_out: Those that only test in every run.

    Raises:
        RunError: There are too few sites.
    """
    trained = [name for name in sites if name not in held_out]
    if kind in ("leave-one-site-out", "sites") and len(trained) < 2:
        raise RunError(f"needs two sites that train, there are {len(trained)}", where=f"--{_option(kind)}")
    every = Variant(name=ALL, held_out=list(held_out))
    if kind == "leave-one-site-out":
        return [
            every,
            *(Variant(name=f"without-{name[:_LONGEST]}", held_out=[*held_out, name]) for name in trained),
        ]
    if kind == "patients":
        return [
            Variant(name=f"patients-{share * 100:g}", held_out=list(held_out), used=share) for share in SHARES
        ]
    if kind == "sites":
        return [*_fewer_sites(job, trained, held_out), every]
    return [every]


def members_of(variants: Sequence[Variant], first_seed: int, seeds: int) -> list[Member]:
    """Return a run of each variant for each seed, all variants of a seed together."""
    single = len(variants) == 1
    return [
        Member(
            name=f"seed-{seed}" if single else f"{variant.name}-seed-{seed}", variant=variant.name, seed=seed
        )
        for seed in range(first_seed, first_seed + seeds)
        for variant in variants
    ]


def folds_of(job: JobSpec, sites: Sequence[SiteConfig], *, baselines: bool) -> int:
    """Return how many folds the hospitals have, which must be as many at each.

    Args:
        job: What each run trains.
        sites: All of them.
        baselines: Whether each run has them.

    Raises:
        RunError: They have not, or the job can't be cross-validated.
    """
    where = "--cross-validation"
    if not job.trains:
        raise RunError("trains a model for each fold, and this job trains none", where=where)
    if baselines:
        raise RunError("opens no test, on which baselines are judged: leave out --baselines", where=where)
    folds = {site.name: site.dataset(job.job.dataset).split.folds for site in sites}
    if len(set(folds.values())) > 1:
        told = ", ".join(f"{name} {number}" for name, number in folds.items())
        raise RunError(f"needs as many folds at each hospital ({told})", where=where)
    return next(iter(folds.values()))


def in_folds(folds: int, first_seed: int, repeats: int) -> list[Member]:
    """Return a run for each fold, of one draw of the folds after the other, each with a seed of its own."""
    return [
        Member(
            name=f"fold-{fold}" if repeats == 1 else f"draw-{draw}-fold-{fold}",
            variant=ALL,
            seed=first_seed + draw - 1,
            fold=fold,
            draw=draw,
        )
        for draw in range(1, repeats + 1)
        for fold in range(1, folds + 1)
    ]


def _fewer_sites(job: JobSpec, trained: Sequence[str], held_out: Sequence[str]) -> list[Variant]:
    """Return the first sites of two orders, the second the first one backwards: each site is early in one."""
    generator = np.random.default_rng(seed_of(job.job.seed, "order of the sites"))
    forwards = [trained[place] for place in generator.permutation(len(trained))]
    orders = [forwards, forwards[::-1]]
    return [
        Variant(name=f"sites-{count}-{number}", held_out=sorted([*held_out, *order[count:]]), order=number)
        for number, order in enumerate(orders, 1)
        for count in range(1, len(trained))
    ]


def _option(kind: Kind) -> str:
    return "learning-curve sites" if kind == "sites" else kind
