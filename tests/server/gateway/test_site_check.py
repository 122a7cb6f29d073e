"""What `wardround client check` says of a coordinator's answer, against the gateway itself."""

import shutil
from pathlib import Path

from client.service.network_check import check_network
from shared.findings import Finding


def checked(federation, credential, folder: Path) -> Finding:
    keys = folder / "keys"
    keys.mkdir(exist_ok=True)
    for name in ("site.key", "site.crt"):
        shutil.copy(credential.folder / name, keys / name)
        (keys / name).chmod(0o600)
    shutil.copy(federation.folder / "ca.crt", keys / "ca.crt")
    findings = {found.what: found for found in check_network(folder, f"127.0.0.1:{federation.sites_port}")}
    return findings["TLS"]


def test_who_is_admitted_and_who_is_not(federation, site, tmp_path: Path) -> None:
    admitted, unknown = federation.credential("st-luke"), federation.credential("st-john", admitted=False)
    assert checked(federation, admitted, tmp_path).state == "ok"
    federation.edit_site(admitted, state="revoked")
    for credential in (admitted, unknown):
        finding = checked(federation, credential, tmp_path)
        assert finding.state == "failure"
        assert "was revoked or is not registered" in finding.detail
