"""Looking whether what a channel needs is there, before something is to be told."""

import shutil

from shared.findings import Finding
from shared.notify.settings import NotifyTable


def channels_ready(settings: NotifyTable, side: str) -> Finding:
    """Say whether secrets can be read and the command is there; nothing is sent.

    Args:
        settings: With a channel at least.
        side: Whose command sends a test: ``client`` or ``server``.

    Raises:
        NotifyError: A secret can't be read.
    """
    if settings.webhook is not None:
        settings.webhook.read_secret()
    if settings.mail is not None and settings.mail.user is not None:
        settings.mail.read_password()
    if settings.command is not None and shutil.which(settings.command.run[0]) is None:
        problem = f"[notify.command] {settings.command.run[0]}: is not a program that can be started"
        return Finding("failure", "notify", problem, "Give its whole path, and let this user run it.")
    channels = ", ".join(settings.channels())
    return Finding("ok", "notify", f"by {channels}; `wardround {side} notify --test` tries it")
