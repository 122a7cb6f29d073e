"""Hospitals that have joined a federation, where a test needs nobody who serves it."""

from pathlib import Path

from client.settings.enrolment import accept_certificate, write_request
from server.folder.passphrase import open_authority
from server.registry.access import open_registry
from server.registry.offline import write_answer
from shared.pki.join_string import Join
from simulate.federation.processes import LocalFederation


class AbsentCoordinator(LocalFederation):
    """A federation whose coordinator does not run: sites join by files, and have what others have."""

    def start_coordinator(self) -> None:
        """Start nothing."""

    def join(self, invitation: Join, folder: Path) -> None:
        """Let a site that is invited join by files."""
        request, answer, coordinator = (
            self.folder / f"{folder.name}.request",
            self.folder / f"{folder.name}.answer",
            self.folder / "coordinator",
        )
        write_request(invitation, folder, request)
        authority = open_authority(coordinator)
        with open_registry(coordinator) as registry:
            certificate = registry.sign(request.read_bytes(), authority)
        write_answer(answer, certificate, authority)
        accept_certificate(invitation, folder, answer)
