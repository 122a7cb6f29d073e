"""`[notify]`: who is told, of what, and how. The same table in `site.toml` and `server.toml`."""

from pathlib import Path
from typing import Annotated, Literal, Self
from urllib.parse import urlsplit

from pydantic import Field, model_validator

from shared.errors import WardroundError
from shared.secret_places import Secret, based, read_secret
from shared.table import Table
from shared.wire.address import is_loopback

EventName = Literal[
    "job-waits",
    "run-waits",
    "run-began",
    "run-finished",
    "model-worse",
    "run-failed",
    "run-stopped",
    "run-interrupted",
    "certificate-ends",
    "budget-ends",
    "site-lost",
    "site-back",
]
Host = Annotated[str, Field(min_length=1, max_length=253)]
MailAddress = Annotated[str, Field(pattern=r"^[^\s@<>,;]{1,64}@[^\s@<>,;]{1,255}$")]


class NotifyError(WardroundError):
    """A channel that can't be used, or through which something could not be sent."""


class CommandTable(Table):
    """`[notify.command]`: a program that is started for each event, which it reads from stdin as JSON."""

    run: list[str] = Field(
        min_length=1,
        description="The program and its arguments; no shell reads them.",
        examples=[["/opt/tell"]],
    )
    seconds: Annotated[float, Field(gt=0, le=600)] = Field(30.0, description="After these it is killed.")


class WebhookTable(Table):
    """`[notify.webhook]`: an address to which each event is posted, as a signed CloudEvent."""

    url: str = Field(
        description="https://..., or http:// on this machine.",
        examples=["https://hooks.example.org/wardround"],
    )
    secret: Secret = Field(
        description="Where the secret that signs is (HMAC-SHA256): 'file:PATH' or 'env:VARIABLE'.",
        examples=["file:webhook.secret"],
    )
    authority: Path | None = Field(
        None,
        description="Certificate that the server's is checked against; without it those of the system.",
        examples=["/etc/ssl/hospital.pem"],
    )

    @model_validator(mode="after")
    def _is_safe(self) -> Self:
        parts = urlsplit(self.url)
        local = parts.scheme == "http" and is_loopback(parts.hostname or "")
        if not parts.hostname or not (parts.scheme == "https" or local):
            raise ValueError("url must be https://HOST/..., or http:// on this machine")
        if parts.username or parts.password:
            raise ValueError("url holds a password: it would stand in logs; sign with a secret instead")
        return self

    def read_secret(self) -> bytes:
        """Return the secret.

        Raises:
            NotifyError: It can't be read, or is shorter than 16 bytes.
        """
        secret = read_secret("[notify.webhook] secret", self.secret, NotifyError)
        if len(secret) < 16:
            remedy = "Make one: openssl rand -base64 32"
            raise NotifyError("has fewer than 16 letters", where="[notify.webhook] secret", remedy=remedy)
        return secret.encode()


class MailTable(Table):
    """`[notify.mail]`: an SMTP server that takes each event as a mail."""

    host: Host = Field(description="The mail server.", examples=["mail.example.org"])
    port: Annotated[int, Field(ge=1, le=65535)] = Field(587, description="Its port.")
    encryption: Literal["starttls", "tls", "none"] = Field(
        "starttls", description="'tls' from the first byte (port 465); 'none' on this machine only."
    )
    sender: MailAddress = Field(description="From whom.", examples=["wardround@example.org"])
    recipients: list[MailAddress] = Field(min_length=1, description="To whom.", examples=[["it@example.org"]])
    user: str | None = Field(
        None, description="Name to log in with; without it nobody logs in.", examples=["ward"]
    )
    password: Secret | None = Field(
        None,
        description="Where the password is: 'file:PATH' or 'env:VARIABLE'.",
        examples=["file:mail.password"],
    )
    authority: Path | None = Field(
        None,
        description="Certificate that the server's is checked against; without it those of the system.",
        examples=["/etc/ssl/hospital.pem"],
    )

    @model_validator(mode="after")
    def _is_safe(self) -> Self:
        if self.encryption == "none" and not is_loopback(self.host):
            raise ValueError("encryption = 'none' is for a mail server on this machine")
        if (self.user is None) != (self.password is None):
            raise ValueError("user and password go together")
        return self

    def read_password(self) -> str:
        """Return the password.

        Raises:
            NotifyError: It can't be read.
        """
        return read_secret("[notify.mail] password", self.password or "", NotifyError)


class NotifyTable(Table):
    """`[notify]`: telling people what happened; docs/notify.md. Nothing about patients is ever in it."""

    events: list[EventName] | None = Field(
        None, description="Of what; without it of everything.", examples=[["job-waits", "budget-ends"]]
    )
    certificate_days: list[Annotated[int, Field(ge=0, le=365)]] = Field(
        [14, 7, 2], description="Days left of a certificate at which it is said, once for each."
    )
    budget_left: list[Annotated[float, Field(ge=0, lt=1)]] = Field(
        [0.25, 0.1, 0.0], description="Shares of a privacy cap at which it is said that so little is left."
    )
    lost_after: Annotated[float, Field(ge=60)] = Field(
        600.0, description="Seconds of silence after which a site is lost (coordinator)."
    )
    command: CommandTable | None = None
    webhook: WebhookTable | None = None
    mail: MailTable | None = None

    def channels(self) -> tuple[str, ...]:
        """Return the names of the channels that are set up."""
        return tuple(name for name in ("command", "webhook", "mail") if getattr(self, name) is not None)

    def wants(self, event: str) -> bool:
        """Say whether people are told of an event."""
        return bool(self.channels()) and (self.events is None or event in self.events)

    def based_on(self, folder: Path) -> "NotifyTable":
        """Return the table with its relative paths counted from a folder."""
        update: dict[str, Table] = {}
        for name in ("webhook", "mail"):
            if (table := getattr(self, name)) is not None:
                placed = {key: based(value, folder) for key, value in table}
                update[name] = table.model_copy(update=placed)
        return self.model_copy(update=update)
