"""The counts that hospitals have told, kept for questions of people in the coordinator's folder."""

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from sqlite3 import Connection

from server.registry.people import People, Role
from server.registry.store import RefusedError, RegistryError
from shared.database import transaction
from shared.wire.counts import ToldCounts

COUNTS_BOOK = "counts.sqlite"
_MOST = 50  # datasets of a site
_SCHEMA = (
    "CREATE TABLE IF NOT EXISTS told (site TEXT NOT NULL, dataset TEXT NOT NULL, counts TEXT NOT NULL, "
    "PRIMARY KEY (site, dataset))"
)


@dataclass(frozen=True)
class SiteCounts:
    """What a site has told of a dataset."""

    site: str
    counts: ToldCounts


class ToldBook:
    """What the sites have told.

    Args:
        folder: The coordinator's.
    """

    def __init__(self, folder: Path) -> None:
        self._path = folder / COUNTS_BOOK

    def put(self, site: str, counts: ToldCounts) -> None:
        """Keep what a site tells of a dataset, in place of what it told before.

        Raises:
            RefusedError: It has told of too many.
            RegistryError: The file can't be used.
        """
        with self._change() as db:
            db.execute(
                "INSERT INTO told VALUES (?, ?, ?) "
                "ON CONFLICT (site, dataset) DO UPDATE SET counts = excluded.counts",
                (site, counts.dataset, counts.model_dump_json()),
            )
            if db.execute("SELECT COUNT(*) FROM told WHERE site = ?", (site,)).fetchone()[0] > _MOST:
                raise RefusedError(f"a site tells counts of {_MOST} datasets at most")

    def withdraw(self, site: str, dataset: str) -> None:
        """Forget what a site has told of a dataset.

        Raises:
            RegistryError: The file can't be used.
        """
        with self._change() as db:
            db.execute("DELETE FROM told WHERE site = ? AND dataset = ?", (site, dataset))

    def seen_by(self, role: Role, projects: Collection[str], people: People) -> list[SiteCounts]:
        """Return what somebody may see, by dataset and site.

        Args:
            role: Operators see all.
            projects: Where the person belongs.
            people: Knows which sites belong to a project.

        Raises:
            RegistryError: The file can't be used.
        """
        with self._change() as db:
            rows = db.execute("SELECT site, counts FROM told ORDER BY dataset, site").fetchall()
        sites = {project: people.sites_of(project) for project in projects}
        told = [SiteCounts(row["site"], ToldCounts.model_validate_json(row["counts"])) for row in rows]
        return [one for one in told if role == "operator" or _is_for(one, sites)]

    @contextmanager
    def _change(self) -> Iterator[Connection]:
        with transaction(self._path, self._refused) as db:
            db.execute(_SCHEMA)
            yield db

    def _refused(self, error: Exception) -> RegistryError:
        return RegistryError(f"the counts can't be used ({error})", where=self._path.name)


def _is_for(told: SiteCounts, sites: dict[str, frozenset[str]]) -> bool:
    allowed = told.counts.projects
    return any(
        told.site in members and (allowed is None or project in allowed) for project, members in sites.items()
    )
