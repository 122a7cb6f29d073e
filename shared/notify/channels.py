"""The ways by which an event reaches people: a function has handed it over when it returns, or raises."""

import base64
import hashlib
import hmac
import os
import signal
import smtplib
import ssl
import subprocess
import time
from collections.abc import Callable
from contextlib import suppress
from email.message import EmailMessage
from pathlib import Path

import httpx

from shared.errors import WardroundError
from shared.notify.event import Event
from shared.notify.settings import CommandTable, MailTable, NotifyError, NotifyTable, WebhookTable
from shared.wire.proxy import open_client

_PATIENCE = 30.0  # seconds for a server's answer
_PASSED_ON = {
    "PATH",
    "HOME",
    "USER",
    "LANG",
    "LC_ALL",
    "TZ",
    "HTTPS_PROXY",
    "https_proxy",
    "NO_PROXY",
    "no_proxy",
}
"""Variables that a command sees: others may be secrets."""


def send(settings: NotifyTable, channel: str, event: Event) -> None:
    """Send an event through one of the channels that are set up.

    Raises:
        WardroundError: The channel did not take it; no secret is in the message.
    """
    senders: dict[str, Callable[[Event], None]] = {}
    if settings.command is not None:
        senders["command"] = lambda event: run_command(settings.command, event)  # type: ignore[arg-type]
    if settings.webhook is not None:
        senders["webhook"] = lambda event: post_webhook(settings.webhook, event)  # type: ignore[arg-type]
    if settings.mail is not None:
        senders["mail"] = lambda event: send_mail(settings.mail, event)  # type: ignore[arg-type]
    senders[channel](event)


def run_command(table: CommandTable, event: Event) -> None:
    """Start a program with the event on its stdin; it and what it has started are killed when time is up.

    Raises:
        NotifyError: It can't be started, ends with another code than 0, or takes too long.
    """
    where = f"[notify.command] {table.run[0]}"
    try:
        process = subprocess.Popen(  # noqa: S603 (the operator's own program, and no shell)
            table.run,
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env={name: value for name, value in os.environ.items() if name in _PASSED_ON},
            start_new_session=True,
        )
    except OSError as error:
        raise NotifyError(f"can't be started ({error.strerror})", where=where) from None
    try:
        process.communicate(event.cloud_event().encode(), timeout=table.seconds)
    except subprocess.TimeoutExpired:
        raise NotifyError(f"took longer than {table.seconds:g} s and was killed", where=where) from None
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    if process.returncode != 0:
        raise NotifyError(f"ended with code {process.returncode}", where=where)


def post_webhook(table: WebhookTable, event: Event) -> None:
    """Post an event in CloudEvents' structured mode, signed as Standard Webhooks does (HMAC-SHA256).

    The signature is over ``id.timestamp.body``; a receiver refuses old timestamps and ids that it has seen.

    Raises:
        WardroundError: The secret can't be read, or the receiver can't be reached or answers with no 2xx.
    """
    body, moment = event.cloud_event(), str(int(time.time()))
    signed = f"{event.id}.{moment}.{body}".encode()
    signature = base64.b64encode(hmac.digest(table.read_secret(), signed, hashlib.sha256)).decode()
    headers = {
        "content-type": "application/cloudevents+json; charset=utf-8",
        "webhook-id": event.id,
        "webhook-timestamp": moment,
        "webhook-signature": f"v1,{signature}",
    }
    host = f"[notify.webhook] {httpx.URL(table.url).host}"  # a path may be a secret
    try:
        with (
            open_client(table.url, _context(table.authority), timeout=_PATIENCE) as client,
            client.stream("POST", table.url, content=body.encode(), headers=headers) as answer,
        ):
            status = answer.status_code
    except httpx.HTTPError as error:
        raise NotifyError(f"can't be reached ({type(error).__name__}: {error})", where=host) from None
    if not 200 <= status < 300:
        raise NotifyError(f"answered with status {status}", where=host)


def send_mail(table: MailTable, event: Event) -> None:
    """Hand an event to a mail server.

    Raises:
        WardroundError: The password can't be read, or the server can't be reached or refuses.
    """
    message = EmailMessage()
    message["From"], message["To"] = table.sender, ", ".join(table.recipients)
    message["Subject"] = f"Wardround: {event.kind}"
    message["Message-ID"] = f"<{event.id}@wardround>"
    message.set_content(f"{event.text()}\n\n{event.source}, {event.time}\n")
    where = f"[notify.mail] {table.host}"
    kind: Callable[..., smtplib.SMTP] = smtplib.SMTP
    options: dict[str, ssl.SSLContext] = {}
    if table.encryption == "tls":
        kind, options = smtplib.SMTP_SSL, {"context": _context(table.authority)}
    try:
        with kind(table.host, table.port, timeout=_PATIENCE, **options) as server:
            if table.encryption == "starttls":
                server.starttls(context=_context(table.authority))
            if table.user is not None:
                server.login(table.user, table.read_password())
            server.send_message(message)
    except smtplib.SMTPResponseException as error:
        raise NotifyError(f"refused ({error.smtp_code})", where=where) from None  # its text may repeat names
    except (OSError, smtplib.SMTPException) as error:
        raise NotifyError(f"can't be reached ({type(error).__name__}: {error})", where=where) from None


def _context(authority: Path | None) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=authority)
    except OSError as error:
        raise NotifyError(
            f"is not a certificate that can be read ({error.strerror})", where=authority
        ) from None


def try_all(settings: NotifyTable, source: str) -> dict[str, str | None]:
    """Send a test through every channel; returns what is wrong with each, None where it has arrived."""
    outcome: dict[str, str | None] = {}
    for channel in settings.channels():
        try:
            send(settings, channel, Event.of(source, "test"))
            outcome[channel] = None
        except WardroundError as error:
            outcome[channel] = str(error)
    return outcome
