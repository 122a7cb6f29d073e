"""`wardround server check`: what can go wrong at a coordinator, before it does."""

from server.cli.folder import HERE, Folder
from shared.cli.answer import Json


def check(folder: Folder = HERE, json: Json = False) -> None:
    """Look at settings, ports, keys, registry, audit log, machine and Flower; exit code 2 if a line fails."""
    from server.service.check import check_coordinator
    from shared.cli.findings import report_findings

    report_findings(check_coordinator(folder), as_json=json)


def schema() -> None:
    """Print the JSON Schema of `server.toml`."""
    from server.folder.coordinator import ServerConfig
    from shared.json_schema import schema_text

    print(schema_text(ServerConfig), end="")
