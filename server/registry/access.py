"""The registry of a coordinator's folder, for what people do with it beside the service."""

from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from server.audit.log import operator_audit
from server.registry.enrolment import Registry
from server.registry.store import REGISTRY


@contextmanager
def open_registry(folder: Path) -> Iterator[Registry]:
    """Open the registry of a coordinator's folder for a block; the audit log has what is changed in it.

    Raises:
        RegistryError: It can't be used.
    """
    with closing(Registry(folder / REGISTRY, operator_audit(folder))) as registry:
        yield registry
