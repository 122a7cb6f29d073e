"""The cluster on which a site's worker runs, as `[device]` says."""

from client.settings.site import DeviceTable
from client.workers.cluster import Cluster
from client.workers.kubernetes import Kubernetes
from client.workers.slurm import Slurm


def cluster_of(device: DeviceTable) -> Cluster:
    """Return the cluster of a site that has one."""
    if device.launcher == "kubernetes":
        assert device.manifest is not None  # noqa: S101  (the settings were checked)
        return Kubernetes(device.manifest, device.options)
    return Slurm(device.options)
