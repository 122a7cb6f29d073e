"""Where a hospital's archive is, and by which account it is used: a URL, or a file `pacs.toml`."""

import os
import ssl
from pathlib import Path
from typing import Any, ClassVar, Self, TypeVar
from urllib.parse import urlsplit

import httpx
from pydantic import Field, ValidationError, model_validator

from shared.errors import WardroundError
from shared.secret_places import Secret, based, read_secret
from shared.table import Table
from shared.toml_files import read_toml
from shared.wire.address import is_loopback
from shared.wire.proxy import open_client

USER, PASSWORD, TOKEN = "WARDROUND_PACS_USER", "WARDROUND_PACS_PASSWORD", "WARDROUND_PACS_TOKEN"
_PATIENCE = 60.0  # seconds for an answer


class PacsError(WardroundError):
    """An archive that can't be reached, or does not take what it is sent."""


class ArchiveTable(Table):
    """`[store]` of `pacs.toml`: the archive's DICOMweb service.

    Attributes:
        url: Of the service, as in `https://pacs.example.org/dicom-web`; without TLS on this machine alone.
        user: Of an account with a password.
        password: `file:PATH` or `env:VARIABLE`.
        token: Of a bearer, likewise.
        authority: Certificates by which the server's is checked, PEM; the machine's own where it is missing.
    """

    name: ClassVar[str] = "store"
    option: ClassVar[str] = "store"
    page: ClassVar[str] = "docs/results.md"
    url: str = Field(pattern=r"^https?://[^\s@?#]+$", max_length=500)
    user: str | None = Field(None, max_length=200)
    password: Secret | None = None
    token: Secret | None = None
    authority: Path | None = Field(None, strict=False)

    @model_validator(mode="after")
    def _one_account(self) -> Self:
        if (self.user is None) != (self.password is None):
            raise ValueError("user: needs a password, and a password a user")
        if self.token is not None and self.user is not None:
            raise ValueError("token: is another account than user and password; give one")
        if self.url.startswith("http:") and not is_loopback(urlsplit(self.url).hostname or ""):
            raise ValueError("url: patients' images go over TLS alone: https://")
        return self

    def open(self) -> httpx.Client:
        """Return a client that logs in with the account.

        Raises:
            PacsError: A secret or the authority can't be read.
        """
        auth = None
        headers = {}
        if self.user is not None and self.password is not None:
            auth = httpx.BasicAuth(
                self.user, read_secret(f"[{self.name}] password", self.password, PacsError)
            )
        if self.token is not None:
            headers["authorization"] = f"Bearer {read_secret(f'[{self.name}] token', self.token, PacsError)}"
        return open_client(self.url, self._context(), auth=auth, headers=headers, timeout=_PATIENCE)

    def _context(self) -> ssl.SSLContext:
        try:
            return ssl.create_default_context(cafile=self.authority)
        except OSError as error:
            raise PacsError(f"can't be read as certificates ({error})", where=self.authority) from None


Archive = TypeVar("Archive", bound=ArchiveTable)


def archive(named: str, kind: type[Archive] = ArchiveTable) -> Archive:  # type: ignore[assignment]
    """Return the archive that a URL or a file names.

    Args:
        named: A URL, whose account is in the environment (`WARDROUND_PACS_USER` with
            `WARDROUND_PACS_PASSWORD`, or `WARDROUND_PACS_TOKEN`), or the path of a file with a table
            `[store]`.
        kind: What is read: `[store]`, or another table of an archive.

    Raises:
        PacsError: It is none.
    """
    if "://" in named:
        found: dict[str, Any] = {"url": named.rstrip("/")}
        if os.environ.get(USER):
            found |= {"user": os.environ[USER], "password": f"env:{PASSWORD}"}
        elif os.environ.get(TOKEN):
            found["token"] = f"env:{TOKEN}"
        return _read(found, f"--{kind.option}", Path(), kind)
    path = Path(named)
    whole = read_toml(path, PacsError)
    if not isinstance(own := whole.get(kind.name), dict):
        raise PacsError(f"has no table [{kind.name}]", where=path, remedy=f"It has a key url ({kind.page}).")
    return _read(own, path, path.parent, kind)


def _read(table: dict[str, Any], where: object, folder: Path, kind: type[Archive]) -> Archive:
    own: dict[str, Any] = {key: based(value, folder) for key, value in table.items()}
    if isinstance(own.get("authority"), str):
        own["authority"] = folder / own["authority"]
    if isinstance(own.get("url"), str):
        own["url"] = own["url"].rstrip("/")
    try:
        return kind.model_validate(own, strict=True)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        text = str(first["msg"]).removeprefix("Value error, ")
        problem = f"{key}: {text}" if key else text
        if key == "url" and "@" in str(own.get("url")):
            problem = "url: a password stands in it, and would be in logs; name it apart"
        raise PacsError(f"[{kind.name}] {problem}", where=where) from None
