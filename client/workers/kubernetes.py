"""Jobs of Kubernetes, by `kubectl`: a manifest of the hospital's own, and what a job is to run."""

import json
import logging
import secrets
import shutil
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from client.workers.cluster import Standing
from shared.errors import SiteError

log = logging.getLogger(__name__)

PYTHON = "/opt/wardround/bin/python"
"""Where the images of `deploy/docker/` have it."""
_PATIENCE = 60.0  # seconds for an answer of kubectl
_KEPT = 3600  # seconds for which a job that has ended can be looked at
_UNKNOWN = "NotFound"  # in what kubectl says of a job that is not there
_CONTAINER = "/spec/template/spec/containers/0"
_DISRUPTED = "DisruptionTarget"  # a pod's condition: preempted, evicted, its node gone


class Kubernetes:
    """A cluster, as `kubectl` reaches it from this machine.

    Args:
        manifest: Of a Job whose first container has the program, the site's folder and the images at the same
            places as this machine.
        options: Of `kubectl`, each a word: context, namespace.
    """

    def __init__(self, manifest: Path, options: Sequence[str]) -> None:
        self._manifest = manifest
        self._options = tuple(options)

    def submit(self, command: Sequence[str], environment: dict[str, str], log: Path) -> str:
        """See `Cluster`."""
        name = f"wardround-{secrets.token_hex(8)}"
        variables = [f"{key}={value}" for key, value in environment.items() if key != "PYTHONPATH"]
        program = ["env", *variables, PYTHON, *command[1:]]
        into_log = ["sh", "-c", 'umask 077; exec "$@" >>"$0" 2>&1', str(log.absolute())]
        self._create(self.job(name, [*into_log, *program]))
        return name

    def look(self, job: str) -> Standing:
        """See `Cluster`."""
        found = self._asked(["get", "job", job])
        if isinstance(found, str):
            return Standing("Kubernetes knows nothing of it any more", is_over=True) if found else _SILENT
        ends = [one for one in found.get("status", {}).get("conditions", ()) if one.get("status") == "True"]
        end = next((one for one in ends if one.get("type") in {"Complete", "Failed"}), None)
        if end is None:
            running = found.get("status", {}).get("ready") or found.get("status", {}).get("active")
            return Standing("running" if running else "waiting")
        why = str(end.get("reason") or end["type"])
        pods = self._asked(["get", "pods", f"--selector=job-name={job}"])
        return _ended(why, pods.get("items", ()) if isinstance(pods, dict) else ())

    def end(self, job: str) -> None:
        """See `Cluster`."""
        ended = self._kubectl(["delete", "job", job, "--ignore-not-found", "--wait=false"])
        if ended.returncode:
            log.warning("job %s is not ended by Kubernetes: %s", job, ended.stderr.strip())

    def check(self) -> str:
        """See `Cluster`."""
        self._create(self.job("wardround-check", ["true"]), "--dry-run=server")
        return "Kubernetes would take a job"

    def job(self, name: str, command: Sequence[str]) -> str:
        """Return the manifest of one job, made of the hospital's by kubectl's own Kustomize.

        Raises:
            SiteError: The hospital's is none.
        """
        values: dict[str, object] = {
            "/metadata/name": name,
            f"{_CONTAINER}/command": list(command),
            "/spec/template/spec/restartPolicy": "Never",
            "/spec/backoffLimit": 0,  # the service itself asks again
            "/spec/ttlSecondsAfterFinished": _KEPT,
        }
        patch = [{"op": "add", "path": path, "value": value} for path, value in values.items()]
        change = {"target": {"kind": "Job"}, "patch": json.dumps(patch)}
        with tempfile.TemporaryDirectory() as scratch:
            folder = Path(scratch)
            try:
                shutil.copyfile(self._manifest, folder / "job.yaml")
            except OSError as error:
                problem = f"can't be read ({error.strerror})"
                raise SiteError(problem, where=f"[device] manifest {self._manifest}") from None
            text = json.dumps({"resources": ["job.yaml"], "patches": [change]})  # which YAML is, too
            (folder / "kustomization.yaml").write_text(text, encoding="utf-8")
            ended = self._kubectl(["kustomize", scratch], with_options=False)
        if ended.returncode:
            remedy = "It is a Job with one container; deploy/kubernetes/training.yaml is an example."
            log.warning("kubectl kustomize: %s", ended.stderr.strip())
            raise SiteError("is not a manifest of a Job", where=self._manifest.name, remedy=remedy)
        return ended.stdout

    def _create(self, manifest: str, *options: str) -> None:
        ended = self._kubectl(["create", "--filename=-", *options], manifest)
        if ended.returncode:  # its words name namespaces and accounts, which stay here
            log.warning("kubectl create: %s", ended.stderr.strip())
            remedy = "The site's log has its words; see [device] in site.toml."
            raise SiteError("Kubernetes does not take the job", remedy=remedy)

    def _asked(self, question: list[str]) -> dict[str, Any] | str:
        """Return what kubectl says as JSON; a word where there is no such thing, an empty one for silence."""
        ended = self._kubectl([*question, "--output=json"])
        if ended.returncode:
            return _UNKNOWN if _UNKNOWN in ended.stderr else ""
        found: dict[str, Any] = json.loads(ended.stdout)
        return found

    def _kubectl(
        self, arguments: list[str], text: str = "", *, with_options: bool = True
    ) -> subprocess.CompletedProcess[str]:
        command = ["kubectl", *(self._options if with_options else ()), *arguments]
        try:
            return subprocess.run(  # noqa: S603  (the hospital's own options, and no shell)
                command, input=text, capture_output=True, text=True, check=False, timeout=_PATIENCE
            )
        except FileNotFoundError:
            remedy = "Install it on this machine, with the settings of the cluster."
            raise SiteError("there is no kubectl, with which Kubernetes is asked", remedy=remedy) from None
        except (OSError, subprocess.TimeoutExpired) as error:
            return subprocess.CompletedProcess(command, 1, "", str(error))


_SILENT = Standing("Kubernetes does not answer")


def _ended(why: str, pods: Sequence[Mapping[str, Any]]) -> Standing:
    """Return how a job ended, by its own word and by its pods' conditions."""
    statuses = [pod.get("status", {}) for pod in pods]
    conditions = [one for status in statuses for one in status.get("conditions", ())]
    is_disrupted = any(one.get("type") == _DISRUPTED and one.get("status") == "True" for one in conditions)
    reasons = {
        reason
        for status in statuses
        for container in status.get("containerStatuses", ())
        if (reason := container.get("state", {}).get("terminated", {}).get("reason"))
    }
    words = ", ".join([why, *sorted(reasons), *([_DISRUPTED] if is_disrupted else [])])
    return Standing(words, True, is_disrupted, why == "DeadlineExceeded")
