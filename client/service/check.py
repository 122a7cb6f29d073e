"""Looking at everything that can go wrong at a site before it does."""

from collections.abc import Iterator
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import psutil

from client.data.manifest.splits import CohortKey, Split
from client.guard.cohort import Cohort
from client.service.clusters import cluster_of
from client.service.network_check import check_network
from client.service.status import service_state
from client.settings.site import DatasetTable, SiteConfig, load_site
from client.training.compiler import HOW_TO_INSTALL, compiler_problem
from shared.audit.verify import verify
from shared.errors import WardroundError
from shared.findings import GIB, Finding, State, disk_space, guarded
from shared.notify.ready import channels_ready
from shared.pki.certificates import (
    check_issued,
    common_name,
    load_certificate,
    load_key,
    needs_renewal,
    public_key_of,
)
from shared.privacy.secagg.limits import LEAST_SITES

LITTLE_MEMORY = 4 * GIB


def check_site(folder: Path, coordinator: str | None = None, *, offline: bool = False) -> Iterator[Finding]:
    """Check a site's folder, its credentials, the way to its coordinator, its data and its machine.

    Args:
        folder: With `site.toml` and `keys/`.
        coordinator: ``host:port``; without it that of `site.toml`.
        offline: Leave out what needs the network.
    """
    if not folder.is_dir():
        remedy = "Name the site's folder with --dir; `wardround client enrol` makes it."
        yield Finding("failure", "folder", f"{folder} is not there, or is not a folder", remedy)
        return
    config: SiteConfig | None = None
    try:
        config = load_site(folder / "site.toml")
        number = len(config.datasets)
        yield Finding("ok", "site.toml", f"site '{config.name}', {number} dataset{'s' * (number != 1)}")
    except WardroundError as error:
        yield Finding("failure", "site.toml", error.problem, error.remedy or "Correct the file.")
    yield guarded("key", partial(_key, folder))
    yield guarded("certificate", partial(_certificate, folder, config))
    if offline:
        yield Finding("warning", "coordinator", "not looked at (--offline)")
    else:
        yield from _way(folder, coordinator, config)
    if config is not None:
        for name, dataset in config.datasets.items():
            yield guarded(f"data {name}", partial(_data, folder, name, dataset))
        yield from _offered_twice(config)
        if not config.datasets:
            yield Finding(
                "failure", "data", "no dataset is offered", "Add a table [datasets.NAME] to site.toml."
            )
        yield from _what_policy_needs(config)
        if config.notify.channels():
            yield guarded("notify", partial(channels_ready, config.notify, "client"))
    yield guarded("disk", partial(disk_space, folder))
    yield _memory()
    if config is not None:
        yield guarded("device", partial(_device, config))
    yield guarded("audit log", partial(_audit, folder))
    yield guarded("service", partial(_service, folder))


def _way(folder: Path, coordinator: str | None, config: SiteConfig | None) -> Iterator[Finding]:
    address = coordinator or (config.site.coordinator if config else None)
    if address is not None:
        yield from check_network(folder, address)
    elif config is None:
        yield Finding("warning", "coordinator", "not looked at, as site.toml says where it is")
    else:
        remedy = "Set coordinator in [site] of site.toml, or give --coordinator HOST:PORT."
        yield Finding("failure", "coordinator", "its address is not known", remedy)


def check_at_a_glance(folder: Path) -> Iterator[Finding]:
    """Check what needs neither a network nor the images: credentials, what the policy needs, room, service.

    Args:
        folder: With `site.toml` and `keys/`.

    Raises:
        SiteError: `site.toml` can't be used.
    """
    config = load_site(folder / "site.toml")
    yield guarded("key", partial(_key, folder))
    yield guarded("certificate", partial(_certificate, folder, config))
    yield from _offered_twice(config)
    yield from _what_policy_needs(config)
    yield guarded("disk", partial(disk_space, folder))
    yield _memory()
    yield guarded("service", partial(_service, folder))


def _key(folder: Path) -> Finding:
    load_key(folder / "keys" / "site.key")
    return Finding("ok", "key", "EC P-384, readable by this user only")


def _certificate(folder: Path, config: SiteConfig | None) -> Finding:
    if not (folder / "keys" / "site.crt").exists():
        return Finding("failure", "certificate", "this site has not joined", "wardround client enrol")
    certificate = load_certificate(folder / "keys" / "site.crt")
    now = datetime.now(UTC)
    check_issued(certificate, load_certificate(folder / "keys" / "ca.crt"), now)
    if public_key_of(certificate) != load_key(folder / "keys" / "site.key").public_key():
        return Finding("failure", "certificate", "belongs to another key than site.key", "Enrol again.")
    name = common_name(certificate.subject)
    if config is not None and name != config.name:
        remedy = f"Set name = \"{name}\" in [site] of site.toml, or use the keys of '{config.name}'."
        return Finding("failure", "certificate", f"is for the site '{name}', not '{config.name}'", remedy)
    days = (certificate.not_valid_after_utc - now).days
    if needs_renewal(certificate, now):
        return Finding("warning", "certificate", f"{days} days left", "wardround client renew")
    return Finding("ok", "certificate", f"of this federation's authority, {days} days left")


def _offered_twice(config: SiteConfig) -> Iterator[Finding]:
    seen: list[tuple[str, DatasetTable]] = []
    for name, dataset in config.datasets.items():
        for other, earlier in seen:
            same_rows = None in {dataset.site, earlier.site} or dataset.site == earlier.site
            if same_rows and dataset.collection == earlier.collection:
                found = f"has rows of '{other}': what patients lose to private jobs is counted by name"
                yield Finding("warning", f"name {name}", found, "Offer a collection under one name.")
        seen.append((name, dataset))


def _data(folder: Path, name: str, dataset: DatasetTable) -> Finding:
    cohort = Cohort.rehearsed(folder)
    split = Split(CohortKey.drawn(0), dataset.split)
    if cohort is not None:
        split = cohort.split(name, dataset.split, dataset.collection)
    from client.data.check.dataset_check import check_dataset  # noqa: PLC0415  (with readers of images)
    from client.data.check.expected import Expected  # noqa: PLC0415
    from client.data.kinds.image_columns import image_columns  # noqa: PLC0415

    expected = Expected(images=image_columns(dataset.manifest))
    report = check_dataset(dataset.manifest, expected, split=split, site=dataset.site)
    of_site = f" of site '{dataset.site}'" if dataset.site else ""
    found = f"{report.images} {report.unit}s of {report.patients} patients{of_site}"
    remedy = f"wardround data check {dataset.manifest}" + (f" --site {dataset.site}" if dataset.site else "")
    what = f"data {name}"
    if report.errors:
        number = len(report.errors)
        return Finding("failure", what, f"{found}, {number} error{'s' * (number != 1)}", remedy)
    if report.warnings:
        return Finding("warning", what, f"{found}; {report.warnings[0]}", remedy)
    return Finding("ok", what, found)


def _what_policy_needs(config: SiteConfig) -> Iterator[Finding]:
    if config.policy.secure_aggregation == "required":
        yield _peers(config)
    if config.policy.compile:
        yield _compiler()


def _peers(config: SiteConfig) -> Finding:
    """Look whether the keys of the other sites are pinned, without which the authority could invent sites."""
    others, needed = len(config.peers.keys() - {config.name}), config.policy.min_sites_in_sum or LEAST_SITES
    if others + 1 >= needed:
        return Finding("ok", "peers", f"the keys of {others} other sites are pinned")
    return Finding(
        "failure",
        "peers",
        f"[policy] secure_aggregation is required, and [peers] pins the keys of {others} other sites of the "
        f"{needed - 1} that a sum needs: whoever holds the authority's key could invent sites",
        "Ask each hospital by telephone for its key's fingerprint; docs/secure-aggregation.md says how.",
    )


def _memory() -> Finding:
    free = psutil.virtual_memory().available
    state: State = "warning" if free < LITTLE_MEMORY else "ok"
    remedy = None if state == "ok" else "Images are kept in memory: give the service more."
    return Finding(state, "memory", f"{free / GIB:.0f} GiB free", remedy)


def _device(config: SiteConfig) -> Finding:
    if config.device.launcher != "here":  # what is on its machines is looked at there, as a job begins
        return Finding("ok", "device", cluster_of(config.device).check())
    import torch  # noqa: PLC0415 (seconds, and only this check needs it)

    from client.training.device import half_precisions, open_device  # noqa: PLC0415

    if config.device.gpu is None:
        half = "" if half_precisions(torch.device("cpu")) else ", without bfloat16"
        return Finding("ok", "device", f"CPU (no gpu in [device]){half}")
    device = open_device(f"cuda:{config.device.gpu}")
    free, total = (size / GIB for size in torch.cuda.mem_get_info(device))
    detail = f"{torch.cuda.get_device_name(device)}, {free:.0f} of {total:.0f} GiB free"
    wanted = config.device.memory_gib
    if wanted is not None and wanted > free:
        return Finding("warning", "device", detail, f"[device] memory_gib asks for {wanted:g} GiB.")
    return Finding("ok", "device", detail)


def _compiler() -> Finding:
    if problem := compiler_problem():
        remedy = f"Install it ({HOW_TO_INSTALL}), or set compile = false in [policy]."
        return Finding("failure", "compiler", f"{problem}, and [policy] compile is true", remedy)
    return Finding("ok", "compiler", "for jobs with a compiled network")


def _audit(folder: Path) -> Finding:
    if not (folder / "audit").exists():
        return Finding("ok", "audit log", "not begun yet")
    problems = verify(folder / "audit", load_key(folder / "keys" / "site.key").public_key())
    if problems:
        number = len(problems)
        detail = f"{number} problem{'s' * (number != 1)}"
        return Finding("failure", "audit log", detail, "wardround client audit verify")
    return Finding("ok", "audit log", "whole")


def _service(folder: Path) -> Finding:
    answer, detail = service_state(folder)
    if answer == "serving":
        return Finding("ok", "service", detail)
    remedy = "wardround client start, or: systemctl start wardround-site" if answer == "no answer" else None
    return Finding("warning", "service", detail, remedy)
