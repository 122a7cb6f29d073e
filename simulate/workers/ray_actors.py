"""Workers as Ray actors, on this machine or on all machines of a Ray cluster."""

import logging
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from client.workers.calls import Call, Host, Outcome, answer, portable
from client.workers.pool import Died, Event, Link, Pool, Ready, Refused, worker_environment
from shared.errors import RunError
from shared.loading import loading

# Read when Ray is imported, and when it starts: actors have an environment and so processes of their own, and
# none of those that would be started ahead.
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
os.environ.setdefault("RAY_prestart_worker_first_driver", "0")
try:
    import ray
    from ray.exceptions import RayActorError
except ImportError as error:
    raise RunError("Ray is not installed", where="--workers", remedy="pip install wardround[ray]") from error


class HostActor:
    """Holds the host of one worker; arrays cross as they are, which Ray's object store does not pickle."""

    _host: Host

    def start(self, factory: Callable[[], Host], threads: int) -> Event:
        """Build the host."""
        torch.set_num_threads(threads)
        torch.set_num_interop_threads(1)
        try:
            with loading(for_good=True):
                self._host = factory()
        except Exception as error:
            return Refused(portable(error))
        return Ready()

    def answer(self, call: Call, names: list[str], *arrays: Any) -> Outcome:
        """Handle a call; ``arrays`` are what the references that the parent sent stand for."""
        # The store's memory is read-only, and torch has no tensors that are: copied.
        copies = {name: np.array(array) for name, array in zip(names, arrays, strict=True)}
        return answer(self._host, replace(call, arrays=copies))


class ActorLink(Link):
    """One actor and the reference of what it will say next."""

    def __init__(self, actor: Any, first: Any) -> None:
        self.actor = actor
        self.expected: Any | None = first

    def send(self, call: Call, shared: Mapping[str, Any]) -> None:
        """See the base class."""
        self.expected = self.actor.answer.remote(call, list(shared), *shared.values())

    def receive(self) -> Event:
        """Return what the actor sent, or how it ended."""
        reference, self.expected = self.expected, None
        try:
            event: Event = ray.get(reference)
        except RayActorError as error:
            return Died(f"died ({str(error).splitlines()[0]})")
        except Exception as error:  # Ray could not carry the actor's reply or the factory
            return Died(f"failed in Ray ({error})")
        if isinstance(event, Outcome):
            return replace(event, arrays={name: np.array(array) for name, array in event.arrays.items()})
        return event

    def kill(self) -> None:
        """See the base class."""
        ray.kill(self.actor, no_restart=True)


class RayWorkers(Pool[ActorLink]):
    """Actors of a running cluster where there is one, else of one started on this machine."""

    def __init__(self, size: int | None, factory: Callable[[], Host], threads: int) -> None:
        self._started_ray = not ray.is_initialized()
        if self._started_ray:
            _connect(None if size is None else size * threads)
        room = int(ray.cluster_resources().get("CPU", 0)) // threads
        if room < (size or 1):  # Ray would wait for ever
            self._disconnect()
            raise RunError(
                f"the Ray cluster has room for {room} workers of {threads} threads",
                where="--workers",
                remedy=f"ask for at most ray:{room}" if room else "give the cluster more CPUs",
            )
        super().__init__(size or room, factory, threads)

    def close(self) -> None:
        """See the base class; ends Ray if it was started here."""
        super().close()
        self._disconnect()

    def _disconnect(self) -> None:
        if self._started_ray:
            self._started_ray = False
            ray.shutdown()

    def _start(self) -> ActorLink:
        environment = worker_environment(self._threads)
        actor = (
            ray.remote(HostActor)
            .options(num_cpus=self._threads, runtime_env={"env_vars": environment})
            .remote()
        )
        return ActorLink(actor, actor.start.remote(self._factory, self._threads))

    def _share(self, array: NDArray[Any]) -> Any:
        return ray.put(array)

    def _events(self, links: Sequence[ActorLink], timeout: float | None) -> list[tuple[ActorLink, Event]]:
        by_reference = {link.expected: link for link in links if link.expected is not None}
        references = list(by_reference)
        if not ray.wait(references, num_returns=1, timeout=timeout, fetch_local=True)[0]:
            return []
        ready, _ = ray.wait(references, num_returns=len(references), timeout=0)
        return [(by_reference[reference], by_reference[reference].receive()) for reference in ready]


def _connect(cpus: int | None) -> None:
    """Join the cluster of this machine when no number is asked for, else start a local one."""
    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
    if cpus is None:
        try:
            ray.init(address="auto", **quiet)
        except ConnectionError:
            pass
        else:
            return
    ray.init(address="local", num_cpus=cpus, include_dashboard=False, **quiet)
