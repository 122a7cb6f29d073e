"""`[oidc]` of `server.toml`: whose accounts log in here, and what their groups may do."""

from pathlib import Path
from typing import Annotated, Self
from urllib.parse import urlsplit

from pydantic import Field, model_validator

from server.registry.people import Role
from shared.errors import WardroundError
from shared.secret_places import Secret, based, read_secret
from shared.table import Name, Table
from shared.wire.address import is_loopback

Word = Annotated[str, Field(min_length=1, max_length=200)]


class OidcError(WardroundError):
    """A provider that can't be used, or an account that is not let in."""


class GroupTable(Table):
    """`[[oidc.groups]]`: what the members of a group of the provider's may do here."""

    name: Word = Field(
        description="The group, as the provider's ID tokens name it.", examples=["heart-readers"]
    )
    role: Role = Field(description="viewer, researcher or operator.", examples=["viewer"])
    projects: list[Name] = Field([], description="Projects that they belong to.", examples=[["default"]])


class OidcTable(Table):
    """`[oidc]`: log-in with accounts of an OpenID Connect provider, beside tokens; docs/people.md."""

    issuer: str = Field(
        description="Address of the provider, exactly as its metadata say it.",
        examples=["https://id.example.org/realms/heart"],
    )
    client_id: Word = Field(
        description="By which the provider knows this coordinator.", examples=["wardround"]
    )
    client_secret: Secret | None = Field(
        None,
        description="Where the secret is: 'file:PATH' or 'env:VARIABLE'; without it a public client.",
        examples=["file:oidc.secret"],
    )
    title: Word = Field("your institution's account", description="What the log-in page calls it.")
    scopes: list[Word] = Field(["openid", "profile"], description="What is asked of the provider.")
    name_claim: Word = Field(
        "preferred_username", description="Claim after which a person is named here at their first log-in."
    )
    groups_claim: Word = Field("groups", description="Claim of the ID token that lists the groups.")
    groups: list[GroupTable] = Field(
        min_length=1, description="Who may do what; who is in none of them is not let in."
    )
    hours: Annotated[float, Field(gt=0, le=24)] = Field(
        12.0, description="After which a log-in ends: a change of groups counts from the next one on."
    )
    authority: Path | None = Field(
        None,
        description="Certificate that the provider's is checked against; without it those of the system.",
        examples=["/etc/ssl/hospital.pem"],
    )

    @model_validator(mode="after")
    def _is_safe(self) -> Self:
        if not is_safe(self.issuer):
            raise ValueError("issuer must be https://HOST/..., or http:// on this machine")
        if "openid" not in self.scopes:
            raise ValueError("scopes must hold 'openid'")
        return self

    def based_on(self, folder: Path) -> "OidcTable":
        """Return the table with its relative paths counted from a folder."""
        keys = ("client_secret", "authority")
        return self.model_copy(update={key: based(getattr(self, key), folder) for key in keys})

    def read_secret(self) -> str | None:
        """Return the client's secret; None where there is none.

        Raises:
            OidcError: It can't be read.
        """
        if self.client_secret is None:
            return None
        return read_secret("[oidc] client_secret", self.client_secret, OidcError)


def is_safe(address: str) -> bool:
    """Say whether an address is one that secrets may go to: HTTPS, or this machine."""
    try:
        parts = urlsplit(address)
        local = parts.scheme == "http" and is_loopback(parts.hostname or "")
    except ValueError:
        return False
    return bool(parts.hostname) and (parts.scheme == "https" or local) and "@" not in parts.netloc
