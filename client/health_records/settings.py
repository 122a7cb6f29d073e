"""`[datasets.NAME.cohort]` of `site.toml`: which of the hospital's records say what a dataset is made of."""

from pathlib import Path
from typing import Self
from urllib.parse import SplitResult, urlsplit

from pydantic import Field, model_validator

from shared.secret_places import Secret, based
from shared.table import Table
from shared.wire.address import is_loopback

SQLITE, DUCKDB, FHIR, POSTGRES = "sqlite", "duckdb", "fhir", "postgresql"
_FILES = (SQLITE, DUCKDB, FHIR)
_PORT = 5432


class CohortTable(Table):
    """`[datasets.NAME.cohort]`: the hospital's own query, whose answer is the dataset's list of studies."""

    query: Path = Field(
        description="File with one SQL query that the hospital wrote: it gives accession numbers (or "
        "study_uid, patient_id) and the columns that stand beside the images.",
        examples=["cohorts/brain.sql"],
    )
    database: str = Field(
        pattern=rf"^(({'|'.join(_FILES)}):[^?#]+|{POSTGRES}://[^?#]+)$",
        max_length=500,
        description="postgresql://HOST/NAME, postgresql:///NAME for this machine's socket, sqlite:FILE, "
        "duckdb:FILE, or fhir:FOLDER of a bulk export (R4, NDJSON).",
        examples=["postgresql://omop.example.org/omop"],
    )
    user: str | None = Field(
        None, max_length=63, description="PostgreSQL: an account that may read alone.", examples=["wardround"]
    )
    password: Secret | None = Field(
        None,
        description="file:PATH, which nobody else may read, or env:VARIABLE.",
        examples=["file:omop.password"],
    )
    authority: Path | None = Field(
        None,
        description="Certificates by which the database's is checked, PEM; the machine's own where it is "
        "missing.",
        examples=["hospital-ca.pem"],
    )
    socket: Path = Field(Path("/var/run/postgresql"), description="Folder of this machine's socket.")
    socket_owner: str | None = Field(
        None,
        pattern=r"^[a-z0-9_][a-z0-9_.-]{0,31}$",
        description="User (name or number) under whom the server of this machine's socket runs; postgres "
        "where it is missing. Root and the site's own user may always be.",
        examples=["postgres"],
    )
    seconds: int = Field(300, ge=1, le=86_400, description="For the query; what takes longer is given up.")

    @model_validator(mode="after")
    def _can_be_opened(self) -> Self:
        if self.path is not None:
            if self.user is not None or self.password is not None:
                raise ValueError("files have no user and no password")
            return self
        url = self.url
        if "@" in url.netloc:
            raise ValueError("database: no account stands in it; name user and password apart")
        if not url.path.strip("/"):
            raise ValueError("database: the name of the database is missing (postgresql://HOST/NAME)")
        if self.user is None:
            raise ValueError("user: PostgreSQL needs one")
        try:
            _ = url.port
        except ValueError:
            raise ValueError("database: its port is not a number up to 65535") from None
        return self

    @property
    def kind(self) -> str:
        """What the records are in: `postgresql`, `sqlite`, `duckdb` or `fhir`."""
        return self.database.partition(":")[0]

    @property
    def path(self) -> Path | None:
        """The file, or the folder of an export; None where a server has the records."""
        return Path(self.database.partition(":")[2]) if self.kind in _FILES else None

    @property
    def url(self) -> SplitResult:
        """The parts of PostgreSQL's address."""
        return urlsplit(self.database)

    @property
    def port(self) -> int:
        """PostgreSQL's port."""
        return self.url.port or _PORT

    @property
    def needs_tls(self) -> bool:
        """Whether patients' records would go over a network."""
        host = self.url.hostname
        return host is not None and (self.authority is not None or not is_loopback(host))

    def based_on(self, folder: Path) -> Self:
        """Return it with relative paths counted from a folder."""
        found = {name: based(getattr(self, name), folder) for name in ("query", "password", "authority")}
        if self.path is not None:
            found["database"] = f"{self.kind}:{folder / self.path}"
        return self.model_copy(update=found)
