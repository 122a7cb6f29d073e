"""Looking at everything that can go wrong at a site before it does."""

import socket
import urllib.request
from collections.abc import Iterator
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import psutil

from client.cohort import Cohort
from client.data.check import check_dataset
from client.data.splits import CohortKey, Split
from client.service_state import service_state
from client.site import DatasetTable, SiteConfig, load_site
from shared.audit_verify import verify
from shared.errors import WardroundError
from shared.findings import GIB, Finding, State, disk_space, guarded
from shared.pki import (
    check_issued,
    client_context,
    load_certificate,
    load_key,
    needs_renewal,
    public_key_of,
)

TIMEOUT = 10.0  # seconds for each network step
# Requests are signed with the time: Flower 1.41 refuses those from 5 s in the future, or 305 s in the past.
SKEW_WARNING, SKEW_FAILURE = 2.0, 5.0
LITTLE_MEMORY = 4 * GIB


def check_site(folder: Path, coordinator: str | None = None, *, offline: bool = False) -> Iterator[Finding]:
    """Check a site's folder, its credentials, the way to its coordinator, its data and its machine.

    Args:
        folder: With `site.toml` and `keys/`.
        coordinator: ``host:port``; without it that of `site.toml`.
        offline: Leave out what needs the network.
    """
    config: SiteConfig | None = None
    try:
        config = load_site(folder / "site.toml")
        yield Finding("ok", "site.toml", f"site '{config.name}', {len(config.datasets)} datasets")
    except WardroundError as error:
        yield Finding("failure", "site.toml", error.problem, error.remedy or "Correct the file.")
    yield guarded("key", partial(_key, folder))
    yield guarded("certificate", partial(_certificate, folder))
    address = coordinator or (config.site.coordinator if config else None)
    if offline:
        yield Finding("warning", "coordinator", "not looked at (--offline)")
    elif address is None:
        remedy = "Set coordinator in [site] of site.toml, or give --coordinator HOST:PORT."
        yield Finding("failure", "coordinator", "its address is not known", remedy)
    else:
        yield from _network(folder, address)
    if config is not None:
        for name, dataset in config.datasets.items():
            yield guarded(f"data {name}", partial(_data, folder, name, dataset))
        if not config.datasets:
            yield Finding(
                "failure", "data", "no dataset is offered", "Add a table [datasets.NAME] to site.toml."
            )
    yield disk_space(folder)
    yield _memory()
    if config is not None:
        yield guarded("device", partial(_device, config))
    yield guarded("audit log", partial(_audit, folder))
    yield _service(folder)


def _key(folder: Path) -> Finding:
    load_key(folder / "keys" / "site.key")
    return Finding("ok", "key", "EC P-384, readable by this user only")


def _certificate(folder: Path) -> Finding:
    certificate = load_certificate(folder / "keys" / "site.crt")
    now = datetime.now(UTC)
    check_issued(certificate, load_certificate(folder / "keys" / "ca.crt"), now)
    if public_key_of(certificate) != load_key(folder / "keys" / "site.key").public_key():
        return Finding("failure", "certificate", "belongs to another key than site.key", "Enrol again.")
    days = (certificate.not_valid_after_utc - now).days
    if needs_renewal(certificate, now):
        return Finding("warning", "certificate", f"{days} days left", "wardround client renew")
    return Finding("ok", "certificate", f"of this federation's authority, {days} days left")


def _network(folder: Path, address: str) -> Iterator[Finding]:
    host, port = urlsplit(f"//{address}").hostname or "", urlsplit(f"//{address}").port or 443
    proxy = None if urllib.request.proxy_bypass(host) else urllib.request.getproxies().get("https")
    if proxy is not None:
        parts = urlsplit(proxy)  # may hold a password: only host and port are shown
        yield Finding("ok", "proxy", f"{parts.hostname}:{parts.port or 80} (HTTPS_PROXY)")
    else:
        try:
            found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
            yield Finding("ok", "name", f"{host} is {found[0][4][0]}")
        except OSError:
            remedy = "Ask for a DNS entry, or set HTTPS_PROXY if the way out is a proxy."
            yield Finding("failure", "name", f"{host} is not known to this machine's DNS", remedy)
            return
    try:
        with httpx.Client(verify=client_context(folder / "keys"), timeout=TIMEOUT) as client:
            before = datetime.now(UTC)
            answer = client.get(f"https://{address}/")
            after = datetime.now(UTC)
    except WardroundError as error:
        yield Finding("failure", "TLS", error.problem, error.remedy)
        return
    except (httpx.HTTPError, OSError) as error:
        yield _unreachable(error, address)
        return
    yield Finding("ok", "TLS", f"{address} has a certificate of this federation and takes this site's")
    yield _clock(answer.headers.get("date"), before + (after - before) / 2)


def _unreachable(error: Exception, address: str) -> Finding:
    text = str(error)
    if "CERTIFICATE_VERIFY_FAILED" in text:
        remedy = "Something in between opens TLS, or this is another federation: take this address out of it."
        return Finding("failure", "TLS", f"{address} shows a certificate of another authority", remedy)
    if "alert" in text.lower() or "SSL" in text:
        remedy = "Was the site revoked, or has its certificate expired? Ask the coordinator's operator."
        return Finding("failure", "TLS", "the coordinator refuses this site's certificate", remedy)
    if isinstance(error, httpx.ProxyError):
        return Finding(
            "failure", "proxy", f"refuses the way to {address}", "Let the proxy pass this address."
        )
    remedy = "Open the firewall outbound for this one address and port; nothing comes in."
    return Finding("failure", "TLS", f"{address} can't be reached ({type(error).__name__})", remedy)


def _clock(date: str | None, here: datetime) -> Finding:
    try:
        there = parsedate_to_datetime(date or "")
    except ValueError:
        return Finding("warning", "clock", "the coordinator does not say what time it is")
    skew = abs((here - there).total_seconds())
    detail = f"{skew:.0f} s from the coordinator's"
    if skew <= SKEW_WARNING:
        return Finding("ok", "clock", detail)
    state: State = "warning" if skew <= SKEW_FAILURE else "failure"
    return Finding(state, "clock", detail, "Set both clocks by NTP: requests are signed with the time.")


def _data(folder: Path, dataset: str, table: DatasetTable) -> Finding:
    cohort, manifest = Cohort.rehearsed(folder), table.manifest
    split = Split(CohortKey.drawn(0), table.split) if cohort is None else cohort.split(dataset, table.split)
    report = check_dataset(manifest, split=split)
    found = f"{report.images} images of {report.patients} patients"
    name = f"data {dataset}"
    if report.errors:
        remedy = f"wardround data check {manifest}"
        return Finding("failure", name, f"{found}, {len(report.errors)} errors", remedy)
    if report.warnings:
        return Finding("warning", name, f"{found}; {report.warnings[0]}", f"wardround data check {manifest}")
    return Finding("ok", name, found)


def _memory() -> Finding:
    free = psutil.virtual_memory().available
    state: State = "warning" if free < LITTLE_MEMORY else "ok"
    remedy = None if state == "ok" else "Images are kept in memory: give the service more."
    return Finding(state, "memory", f"{free / GIB:.0f} GiB free", remedy)


def _device(config: SiteConfig) -> Finding:
    import torch  # noqa: PLC0415 (seconds, and only this check needs it)

    from client.device import open_device  # noqa: PLC0415

    if config.device.gpu is None:
        return Finding("ok", "device", "CPU (no gpu in [device])")
    device = open_device(f"cuda:{config.device.gpu}")
    free, total = (size / GIB for size in torch.cuda.mem_get_info(device))
    detail = f"{torch.cuda.get_device_name(device)}, {free:.0f} of {total:.0f} GiB free"
    wanted = config.device.memory_gib
    if wanted is not None and wanted > free:
        return Finding("warning", "device", detail, f"[device] memory_gib asks for {wanted:g} GiB.")
    return Finding("ok", "device", detail)


def _audit(folder: Path) -> Finding:
    if not (folder / "audit").exists():
        return Finding("ok", "audit log", "not begun yet")
    problems = verify(folder / "audit", load_key(folder / "keys" / "site.key").public_key())
    if problems:
        return Finding("failure", "audit log", f"{len(problems)} problems", "wardround client audit verify")
    return Finding("ok", "audit log", "whole")


def _service(folder: Path) -> Finding:
    answer, detail = service_state(folder)
    if answer == "serving":
        return Finding("ok", "service", detail)
    remedy = "wardround client start, or: systemctl start wardround-site" if answer == "no answer" else None
    return Finding("warning", "service", detail, remedy)
