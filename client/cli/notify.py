"""`wardround client notify`: who is told of what happens at this site."""

from client.cli.folder import HERE, Folder
from shared.cli.answer import Json
from shared.cli.notify import Test, report_channels


def notify(test: Test = False, folder: Folder = HERE, json: Json = False) -> None:
    """Say through which channels people are told what happens here, or try them; exit code 2 if one fails."""
    from client.settings.site import load_site

    config = load_site(folder / "site.toml")
    source = f"/wardround/site/{config.name}"
    report_channels(config.notify, source, folder / "state", test=test, as_json=json)
