"""The files for real operation, as far as a machine without root can try them."""

import grp
import os
import pwd
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from client.service.health import LIVENESS
from server.folder.coordinator import ServerTable
from server.gateway.people import HEALTH

DEPLOY = Path(__file__).parents[2] / "deploy"
UNITS = sorted((DEPLOY / "systemd").glob("*.service"))
DOCKERFILES = sorted((DEPLOY / "docker").glob("*.Dockerfile"))


@pytest.fixture(params=UNITS, ids=lambda path: path.stem)
def unit(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """Return a unit whose program exists on this machine."""
    if shutil.which("systemd-analyze") is None:
        pytest.skip("needs systemd-analyze: apt-get install systemd")
    text = request.param.read_text(encoding="utf-8")
    path = tmp_path / request.param.name
    path.write_text(re.sub(r"ExecStart=\S+", f"ExecStart={shutil.which('true')}", text), encoding="utf-8")
    return path


def analyze(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "SYSTEMD_COLORS": "0"}
    return subprocess.run(
        ["systemd-analyze", *arguments], capture_output=True, text=True, check=False, env=environment
    )


def test_systemd_finds_nothing_to_say_against_a_unit(unit: Path) -> None:
    ended = analyze("verify", "--man=no", unit)
    assert (ended.returncode, ended.stdout + ended.stderr) == (0, "")


def test_a_unit_exposes_little(unit: Path) -> None:
    ended = analyze("security", "--offline=true", "--threshold=20", unit)
    assert ended.returncode == 0, ended.stdout + ended.stderr


@pytest.mark.parametrize("path", UNITS, ids=lambda path: path.stem)
def test_a_unit_is_hardened_and_limited(path: Path) -> None:
    lines = path.read_text(encoding="utf-8").splitlines()
    for line in ("NoNewPrivileges=yes", "ProtectSystem=strict", "PrivateTmp=yes", "CapabilityBoundingSet="):
        assert line in lines
    assert any(line.startswith("MemoryMax=") for line in lines)
    assert any(line in {"DevicePolicy=closed", "PrivateDevices=yes"} for line in lines)


@pytest.mark.parametrize("path", DOCKERFILES, ids=lambda path: path.stem)
def test_an_image_runs_as_nobody_and_without_a_shell(path: Path) -> None:
    final = path.read_text(encoding="utf-8").split("\nFROM ")[-1]
    assert re.search(r"^USER 10001:10001$", final, re.MULTILINE)
    assert re.search(r'^ENTRYPOINT \["/opt/wardround/bin/wardround"\]$', final, re.MULTILINE)
    assert re.search(r'^CMD \[".*"\]$', final, re.MULTILINE)


def kubernetes(side: str) -> dict[str, dict[str, Any]]:
    """Return the plain file of a side by kinds; `.ci/kubernetes` holds it against chart and schemas."""
    text = (DEPLOY / "kubernetes" / f"{side}.yaml").read_text(encoding="utf-8")
    return {document["kind"]: document for document in yaml.safe_load_all(text)}


@pytest.mark.parametrize("side", ["site", "coordinator"])
def test_a_pod_has_no_rights_and_all_that_it_mounts(side: str) -> None:
    found = kubernetes(side)
    workload, service = found["StatefulSet"]["spec"], found["Service"]["spec"]
    pod = workload["template"]["spec"]
    assert pod["securityContext"]["runAsNonRoot"]
    assert not pod["automountServiceAccountToken"]
    claims = {claim["metadata"]["name"] for claim in workload["volumeClaimTemplates"]}
    mounts = set()
    for container in (*pod["initContainers"], *pod["containers"]):
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        mounts |= {mount["name"] for mount in container["volumeMounts"]}
    assert mounts == {volume["name"] for volume in pod["volumes"]} | claims
    labels = workload["template"]["metadata"]["labels"]
    assert workload["serviceName"] == found["Service"]["metadata"]["name"]
    assert service["selector"] == found["NetworkPolicy"]["spec"]["podSelector"]["matchLabels"] == labels


def test_a_sites_pod_is_probed_by_grpc_and_reached_by_nobody() -> None:
    found = kubernetes("site")
    [container] = found["StatefulSet"]["spec"]["template"]["spec"]["containers"]
    port = container["ports"][0]["containerPort"]
    assert container["args"][-2:] == ["--health", f"0.0.0.0:{port}"]
    for probe in ("startupProbe", "livenessProbe"):  # an absent coordinator is no reason to restart
        assert container[probe]["grpc"] == {"port": port, "service": LIVENESS}
    assert container["readinessProbe"]["grpc"] == {"port": port}
    network = found["NetworkPolicy"]["spec"]
    assert network["ingress"] == []
    settings = ServerTable(name="lung", host="fed.example.org")
    out = {rule["port"] for rules in network["egress"] for rule in rules["ports"]}
    assert out == {53, settings.sites_port, settings.people_port}  # where it works, and where it joins


def test_the_coordinators_ports_are_those_of_its_settings() -> None:
    found = kubernetes("coordinator")
    [container] = found["StatefulSet"]["spec"]["template"]["spec"]["containers"]
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    settings = ServerTable(name="lung", host="fed.example.org")
    assert ports == {"sites": settings.sites_port, "people": settings.people_port}
    assert {port["name"]: port["port"] for port in found["Service"]["spec"]["ports"]} == ports
    assert {port["targetPort"] for port in found["Service"]["spec"]["ports"]} == ports.keys()
    [rule] = found["NetworkPolicy"]["spec"]["ingress"]
    assert {port["port"] for port in rule["ports"]} == set(ports.values())
    assert container["readinessProbe"]["httpGet"]["path"] == HEALTH


def test_logrotate_leaves_the_audit_log_alone(tmp_path: Path) -> None:
    """The file as it is, but for this user and in a folder of the test."""
    if shutil.which("logrotate", path=f"{os.environ['PATH']}:/usr/sbin") is None:
        pytest.skip("needs logrotate: apt-get install logrotate")
    logs, audit = tmp_path / "logs", tmp_path / "logs" / "audit"
    audit.mkdir(parents=True)
    for file in (logs / "site.log", audit / "audit-000000000001.jsonl"):
        file.write_text("a line\n", encoding="utf-8")
    owner = f"{pwd.getpwuid(os.getuid()).pw_name} {grp.getgrgid(os.getgid()).gr_name}"
    text = (DEPLOY / "logrotate" / "wardround").read_text(encoding="utf-8")
    assert "/var/log/wardround/" in text
    assert "wardround wardround" in text
    text = text.replace("/var/log/wardround", str(logs)).replace("wardround wardround", owner)
    rules = tmp_path / "rules"
    rules.write_text(text, encoding="utf-8")
    rules.chmod(0o644)
    logs.chmod(0o755)
    ended = subprocess.run(
        ["logrotate", "--force", "--state", tmp_path / "state", rules],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PATH": f"{os.environ['PATH']}:/usr/sbin"},
    )
    assert (ended.returncode, ended.stderr) == (0, "")
    assert sorted(path.name for path in logs.glob("*.log*")) == ["site.log", "site.log.1"]
    assert (logs / "site.log").read_text(encoding="utf-8") == ""  # the service goes on writing to it
    assert [path.read_text(encoding="utf-8") for path in audit.iterdir()] == ["a line\n"]
