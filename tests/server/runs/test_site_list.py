"""`wardround server sites`: what the operator wants to know of each site, without a page."""

from contextlib import closing

from server.audit.log import operator_audit
from server.folder.coordinator import ServerTable, found
from server.registry.enrolment import Registry
from server.registry.site_versions import SiteVersions, read_versions
from server.runs.folder import RunFolder
from server.runs.site_list import site_list
from shared.pki.certificate_requests import certificate_request
from shared.pki.certificates import new_key
from tests.jobs import make_job


def test_each_site_has_its_line(tmp_path):
    folder = tmp_path / "fed"
    authority = found(folder, ServerTable(name="trial", host="127.0.0.1"), None)
    with closing(Registry(folder / "registry.sqlite", operator_audit(folder))) as registry:
        for site in ("alpha", "beta"):
            request = certificate_request(new_key(), site)
            certificate = registry.redeem(registry.invite(site), request, authority, 40)
        registry.seen(certificate.serial_number)  # beta's
        versions = SiteVersions(folder)
        versions["beta"] = "0.2.0"
        assert read_versions(folder) == {"beta": "0.2.0"}
        run = RunFolder.create(folder / "runs", make_job(), "old", "default", status="finished")
        run.add_rows(
            "sites.csv",
            [
                {"round": number, "site": "beta", "phase": phase}
                for number, phase in ((1, "train"), (2, "val"))
            ],
        )
        waits = RunFolder.create(folder / "runs", make_job(job_seed=3), "new", "default")
        standing = {"alpha": {"state": "approval"}, "beta": {"state": "not connected"}}
        with waits.lock():
            waits.describe(status="waiting", waiting={"sites": standing})
            alpha, beta = site_list(registry, folder)
        assert (alpha.name, alpha.online, alpha.version, alpha.waiting, alpha.last_run) == (
            "alpha",
            False,
            "",
            1,
            "",
        )
        assert (beta.online, beta.version, beta.waiting) == (True, "0.2.0", 0)
        assert (beta.last_run, beta.last_round, beta.days) == ("old", 1, 39)
