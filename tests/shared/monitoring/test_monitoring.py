"""Numbers for Prometheus: true, where the settings say, bounded in number, and known to the dashboard."""

import json
import re
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

import httpx
import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from client.service.site_numbers import site_numbers
from client.settings.site import load_site
from server.folder.coordinator import load_settings
from server.runs.folder import RunFolder
from server.service.coordinator_numbers import coordinator_numbers
from shared.audit.fields import EVENTS
from shared.monitoring.audit_count import AuditCount
from shared.monitoring.publish import MonitoringError, Numbers, published
from shared.monitoring.settings import MonitoringTable
from simulate.federation.processes import free_ports
from tests.cli import started
from tests.client.web.hospital import Hospital, make_hospital
from tests.jobs import make_job

PROJECT = Path(__file__).parents[3]
Found = dict[tuple[str, tuple[tuple[str, str], ...]], float]


@pytest.fixture(scope="module")
def hospital(tmp_path_factory: pytest.TempPathFactory) -> Hospital:
    return make_hospital(tmp_path_factory.mktemp("monitored"))


@pytest.fixture(scope="module")
def coordinator(hospital: Hospital) -> Path:
    """The folder of its coordinator, with a run that has ended and one that was broken off."""
    folder = hospital.folder.parent / "fed"
    for name, status in (("old-1", "finished"), ("new-1", "running")):
        run = RunFolder.create(folder / "runs", make_job(job_name="secret-name"), name)
        run.describe(status=status)
        with (run.path / "metrics.csv").open("a") as file:
            file.write("1\n2\n")
        columns = (run.path / "sites.csv").read_text().strip().split(",")
        row = {"site": "st-mary", "bytes": "1500", "round": "1"}
        with (run.path / "sites.csv").open("a") as file:
            file.write(",".join(row.get(name, "") for name in columns) + "\n")
    return folder


def read(text: str) -> Found:
    """Return every number of a text that Prometheus takes."""
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def told(numbers: Numbers, folder: Path) -> Found:
    """Return the numbers as node_exporter finds them."""
    with published(MonitoringTable(textfile=folder), numbers, "test"):
        return read((folder / "test.prom").read_text())


@pytest.fixture
def site_told(hospital: Hospital, tmp_path: Path) -> Found:
    return told(site_numbers(hospital.folder, load_site(hospital.folder / "site.toml")), tmp_path)


@pytest.fixture
def coordinator_told(coordinator: Path, tmp_path: Path) -> Found:
    return told(coordinator_numbers(coordinator, load_settings(coordinator)), tmp_path)


def test_a_site_tells_what_an_operator_asks(site_told: Found) -> None:
    def value(name: str, **labels: str) -> float:
        return site_told[f"wardround_site_{name}", tuple(sorted(labels.items()))]

    assert value("jobs", decision="waiting") == 2
    assert value("jobs", decision="denied") == 1
    assert value("rounds_total") == 2
    assert value("sent_bytes_total") == 2 * (151_732 + 2_184)
    assert value("events_total", event="privacy-spent") == 2
    spent, left = value("epsilon_spent", dataset="discs"), value("epsilon_left", dataset="discs")
    assert spent + left == pytest.approx(value("epsilon_budget", dataset="discs"))
    assert 6 < spent < 7
    assert value("certificate_ends_timestamp_seconds") > 1.7e9
    assert value("takes_part") == 0
    assert not any(v for (name, _), v in site_told.items() if name == "wardround_site_unreadable")


def test_a_coordinator_tells_what_an_operator_asks(coordinator_told: Found) -> None:
    def value(name: str, **labels: str) -> float:
        return coordinator_told[f"wardround_coordinator_{name}", tuple(sorted(labels.items()))]

    assert value("runs", state="finished") == 1
    assert value("runs", state="interrupted") == 1
    assert value("rounds") == 4
    assert value("received_bytes") == 3000
    assert value("sites") == 1
    assert value("site_seen_timestamp_seconds", site="st-mary") == 0
    assert value("authority_ends_timestamp_seconds") > 1.7e9
    assert not any(v for (name, _), v in coordinator_told.items() if name.endswith("_unreadable"))


def test_no_word_from_outside_is_a_label(site_told: Found, coordinator_told: Found) -> None:
    words = {value for _, labels in {**site_told, **coordinator_told} for _, value in labels}
    own = {"st-mary", "discs", "lung", "waiting", "approved", "denied", "unknown"}
    own |= {"queued", "running", "finished", "failed", "stopped", "interrupted"}
    own |= {"service", "jobs", "log", "certificate", "runs", "sites"} | EVENTS.keys()
    assert {word for word in words - own if not re.fullmatch(r"\d+(\.\d+)+", word)} == set()


def test_the_port_is_on_loopback_alone_and_ends_with_the_service(hospital: Hospital) -> None:
    numbers = site_numbers(hospital.folder, load_site(hospital.folder / "site.toml"))
    port = free_port()
    with published(MonitoringTable(port=port), numbers, "x"):
        answer = httpx.get(f"http://127.0.0.1:{port}/metrics", trust_env=False)
        assert ("wardround_site_info", (("site", "st-mary"), ("version", version("wardround")))) in read(
            answer.text
        )
        led_here = httpx.get(  # by a page whose name was made to point to this machine
            f"http://127.0.0.1:{port}/metrics", headers={"host": "elsewhere.test"}, trust_env=False
        )
        assert (led_here.status_code, "wardround" in led_here.text) == (421, False)
        with pytest.raises(MonitoringError, match="can't be listened on"):
            published(MonitoringTable(port=port), numbers, "x").__enter__()
        with pytest.raises(OSError, match="refused"):
            socket.create_connection(("127.0.0.2", port))
    with pytest.raises(OSError, match="refused"):
        socket.create_connection(("127.0.0.1", port))


def free_port() -> int:
    [port] = free_ports(1)
    return port


def test_a_service_publishes_what_its_settings_say(hospital: Hospital, tmp_path: Path) -> None:
    folder, port = Path(shutil.copytree(hospital.folder, tmp_path / "site")), free_port()
    with (folder / "site.toml").open("a") as file:
        file.write(f'\n[monitoring]\nport = {port}\ntextfile = "numbers"\n')
    (folder / "numbers").mkdir()
    command = [sys.executable, "-m", "wardround", "client", "start", "--dir", str(folder)]
    with started(command, stderr=subprocess.DEVNULL) as process:
        found = read(_answer(process, f"http://127.0.0.1:{port}/metrics"))
        written = read((folder / "numbers" / "wardround-site.prom").read_text())
        process.terminate()
    assert found.keys() == written.keys()
    assert found["wardround_site_rounds_total", ()] == 2
    assert process.returncode == 0
    assert not list((folder / "numbers").iterdir())


def _answer(process: subprocess.Popen[str], url: str) -> str:
    """Return what a process answers once it listens."""
    while True:
        assert process.poll() is None
        try:
            return httpx.get(url, trust_env=False).text
        except httpx.ConnectError:
            continue


def test_a_file_of_a_service_that_has_ended_is_gone(hospital: Hospital, tmp_path: Path) -> None:
    numbers = site_numbers(hospital.folder, load_site(hospital.folder / "site.toml"))
    told(numbers, tmp_path)
    assert not list(tmp_path.iterdir())
    with pytest.raises(MonitoringError, match="can't be written to"):
        told(numbers, tmp_path / "nowhere")


def test_what_can_not_be_read_is_said_and_the_rest_told(hospital: Hospital, tmp_path: Path) -> None:
    certificate = hospital.folder / "keys" / "site.crt"
    kept = certificate.read_bytes()
    certificate.unlink()
    try:
        found = told(site_numbers(hospital.folder, load_site(hospital.folder / "site.toml")), tmp_path)
    finally:
        certificate.write_bytes(kept)
    assert found["wardround_site_unreadable", (("part", "certificate"),)] == 1
    assert found["wardround_site_unreadable", (("part", "jobs"),)] == 0
    assert found["wardround_site_rounds_total", ()] == 2


def test_a_log_is_counted_on_and_once(hospital: Hospital) -> None:
    count = AuditCount(hospital.folder / "audit")
    count.update()
    before = count.events["service-stopped"]
    hospital.log.append("service-stopped")
    count.update()
    count.update()
    assert count.events["service-stopped"] == before + 1
    hospital.log.rotate()
    hospital.log.append("service-stopped")
    count.update()
    assert count.events["service-stopped"] == before + 2
    assert count.rounds == 2


def queries() -> Iterator[str]:
    """Give every query that we ship: of the dashboard, and of the alerts in the docs."""
    dashboard = json.loads((PROJECT / "deploy" / "grafana" / "wardround.json").read_text())
    yield from (target["expr"] for panel in dashboard["panels"] for target in panel.get("targets", ()))
    docs = (PROJECT / "docs" / "monitoring.md").read_text()
    alerts = yaml.safe_load(docs.partition("```yaml\n")[2].partition("```")[0])
    yield from (rule["expr"] for group in alerts["groups"] for rule in group["rules"])


def test_every_query_that_we_ship_is_of_numbers_that_there_are(
    site_told: Found, coordinator_told: Found
) -> None:
    labels: dict[str, set[str]] = {}
    for name, own in {**site_told, **coordinator_told}:
        labels.setdefault(name, set()).update(label for label, _ in own)
    asked = list(queries())
    assert len(asked) > 15
    for query in asked:
        names = re.findall(r"wardround_\w+", query)
        assert names
        assert set(names) <= labels.keys(), query
        for name, selector in re.findall(r"(wardround_\w+)\{([^}]*)\}", query):
            assert set(re.findall(r"(\w+)=", selector)) <= labels[name], query


def test_every_number_is_in_the_docs(site_told: Found, coordinator_told: Found) -> None:
    docs = (PROJECT / "docs" / "monitoring.md").read_text()
    for name, _ in {**site_told, **coordinator_told}:
        short = re.sub(r"wardround_site_epsilon", "", name)
        assert name in docs or f"`{short}`" in docs, name
