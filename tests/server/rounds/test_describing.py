"""Sites with a gate and a policy have their data described, and their logs say so."""

from client.settings.policy import PolicyTable
from server.rounds.describing import Describing
from shared.describing_job import describing_job


def test_a_site_with_a_gate_is_described_and_says_so_in_its_log(tiny_job, logged) -> None:
    job = describing_job(tiny_job())
    federated, entries = logged(job)
    Describing(federated.grid, job, federated.run, federated.events.append).execute()
    found = federated.run.read_description()["described"]
    assert found["summed"] == ["alpha", "beta", "delta", "gamma"]
    assert set(found["sites"]) == set(found["summed"])
    assert found["least"] == PolicyTable().min_group
    assert found["all"]["image size"][0][0] > 0
    written = {(entry["event"], entry.get("phase")) for entry in entries()}
    assert {("job-seen", None), ("reply-sent", "statistics")} <= written
    assert not [event for event in federated.events if event.kind == "site_failed"]
