"""`wardround server notify`: who is told of what happens at this coordinator."""

from server.cli.folder import HERE, Folder
from shared.cli.answer import Json
from shared.cli.notify import Test, report_channels


def notify(test: Test = False, folder: Folder = HERE, json: Json = False) -> None:
    """Say through which channels people are told what happens, or try them; exit code 2 if one fails."""
    from server.folder.coordinator import load_settings

    settings = load_settings(folder)
    source = f"/wardround/coordinator/{settings.server.name}"
    report_channels(settings.notify, source, folder, test=test, as_json=json)
