"""One dataset cut into many sites, by patient."""

import csv
import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import Literal

import numpy as np

from client.data.images.mask_files import mask_files
from client.data.manifest.csv_files import read_table
from client.data.manifest.rows import mask_below
from shared.errors import DataError, WardroundError
from shared.seeds import seed_of
from shared.text.names import suggestion

Row = dict[str, str]
SCHEMES = ("iid", "dirichlet:ALPHA", "column:NAME")
_DRAWS = 100
_REMEDY = f"Give one of: {', '.join(SCHEMES)}; as in --partition dirichlet:0.3"


@dataclass(frozen=True)
class Scheme:
    """How patients are spread over sites.

    Args:
        kind: Evenly and at random, with uneven labels, or by a column of the manifest.
        alpha: For `dirichlet`, above 0: the smaller, the more uneven.
        column: For `column`, its name.
    """

    kind: Literal["iid", "dirichlet", "column"]
    alpha: float = 0.0
    column: str = ""

    @classmethod
    def parse(cls, text: str) -> "Scheme":
        """Read `iid`, `dirichlet:ALPHA` or `column:NAME`.

        Raises:
            WardroundError: It is none of these.
        """
        kind, _, value = text.partition(":")
        if kind == "iid" and not value:
            return cls("iid")
        if kind == "column" and value:
            return cls("column", column=value)
        if kind == "dirichlet":
            return cls("dirichlet", alpha=_alpha(value))
        names = [scheme.partition(":")[0] for scheme in SCHEMES]
        problem = "is not complete" if kind in names else f"is unknown; {suggestion(kind, names)}"
        raise WardroundError(f"partition '{text}' {problem}", remedy=_REMEDY)


def _alpha(value: str) -> float:
    try:
        alpha = float(value)
    except ValueError:
        alpha = np.nan
    if not 1e-3 <= alpha <= 1e6:
        problem = f"partition 'dirichlet:{value}' needs a number from 0.001 to 1000000 behind the colon"
        raise WardroundError(problem, remedy=_REMEDY)
    return alpha


@dataclass(frozen=True)
class _Patient:
    name: str
    rows: list[int]
    label: str | None  # the most frequent one; of several the first in the alphabet
    trains: bool


def partition(
    manifest: Path, sites: int | None, scheme: str, seed: int, *, label: str = "label"
) -> dict[str, list[int]]:
    """Spread the patients of a dataset over sites.

    Every row belongs to exactly one site, all rows of a patient to the same one, and every site has at least
    one patient to train on. The order of the rows does not matter.

    `dirichlet:ALPHA` follows Hsu et al. 2019 (arXiv:1909.06335): each site draws its mix of labels from
    Dir(ALPHA p), p being the labels' shares among all patients, and as many patients as any other site. Where
    the manifest has no label column the sites differ in size instead: their shares of the patients are drawn
    from Dir(ALPHA, ..., ALPHA).

    Args:
        manifest: A CSV with a column `patient`; a column `split` tells who can be trained on.
        sites: How many; for `column:NAME`, None or the number of the column's values.
        scheme: `iid`, `dirichlet:ALPHA` or `column:NAME`.
        seed: Of the draw.
        label: The column of the labels.

    Returns:
        The numbers of each site's rows, from 0, in the manifest's order. Sites are called `site-01` and so
        on, or after the column's values.

    Raises:
        DataError: The manifest can't be read or cut in this way.
        WardroundError: The scheme or the number of sites makes no sense.
    """
    chosen = Scheme.parse(scheme)
    _, rows = _read(manifest)
    patients = _patients(manifest, rows, label)
    if chosen.kind == "column":
        parts = _by_column(manifest, rows, patients, chosen.column)
        if sites not in (None, len(parts)):
            problem = f"column '{chosen.column}' makes {len(parts)} sites, not {sites}"
            raise DataError(problem, where=manifest, remedy="Leave out the number of sites.")
    else:
        parts = _drawn(manifest, patients, sites, chosen, seed)
    return {site: sorted(row for patient in part for row in patient.rows) for site, part in parts.items()}


def write_site_manifests(
    manifest: Path,
    parts: dict[str, list[int]],
    folder: Path,
    *,
    files: Sequence[str] = ("image", "mask"),
) -> dict[str, Path]:
    """Write `SITE.csv` for each site: its rows, the column `site` set to its name, with absolute paths.

    Args:
        manifest: The dataset that was cut.
        parts: What `partition` returned for it.
        folder: Where to write; made if it is missing.
        files: The columns that hold paths relative to the manifest, and the tables beside it, each of which
            becomes a column with its path; what there is not is left out.

    Returns:
        The manifest of each site.

    Raises:
        DataError: The manifest can't be read, or the folder can't be written.
    """
    columns, rows = _read(manifest)
    root = manifest.parent.resolve()
    paths = [column for column in files if column in columns]
    beside = {name: str(root / name) for name in files if name not in columns and (root / name).is_file()}
    header = list(dict.fromkeys(["site", *columns, *beside]))
    written = {site: folder / f"{site}.csv" for site in parts}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for site, numbers in parts.items():
            with written[site].open("w", newline="", encoding="utf-8") as stream:
                writer = csv.DictWriter(stream, header, lineterminator="\n")
                writer.writeheader()
                for row in (rows[number] for number in numbers):
                    located = {column: _located(root, row[column]) for column in paths if row[column]}
                    writer.writerow(row | located | beside | {"site": site})
    except OSError as error:
        problem = f"the manifests of the sites can't be written: {error}"
        raise DataError(problem, where=folder, remedy="Free space or name another folder.") from error
    return written


def _located(root: Path, cell: str) -> str:
    """Return what a cell names with absolute paths; what it can't name is left for whoever reads the row."""
    if cell.startswith("["):  # places as JSON
        return cell
    try:
        return "|".join(str(path) for path in mask_files(mask_below(root, cell)))
    except ValueError:
        return cell


def _read(manifest: Path) -> tuple[list[str], list[Row]]:
    columns, table = read_table(manifest)
    if "patient" not in columns:
        raise DataError("column 'patient' is missing", where=manifest, remedy=f"It has: {', '.join(columns)}")
    rows = [dict(zip_longest(columns, cells[: len(columns)], fillvalue="")) for _, cells in table]
    for (line, cells), row in zip(table, rows, strict=True):
        if len(cells) > len(columns) or not row["patient"]:
            problem = "has more cells than the header" if row["patient"] else "names no patient"
            raise DataError(f"row {line} {problem}", where=manifest, remedy="Correct this row.")
    return list(columns), rows


def _patients(manifest: Path, rows: list[Row], label: str) -> list[_Patient]:
    """Return the patients, by name; refuse a dataset in which none can be trained on."""
    rows_of: dict[str, list[int]] = defaultdict(list)
    for number, row in enumerate(rows):
        rows_of[row["patient"].strip()].append(number)
    patients = []
    for name, own in sorted(rows_of.items()):
        labels = Counter(sorted(rows[number][label] for number in own if label in rows[number]))
        trains = all(rows[number].get("split", "").strip() in ("", "train") for number in own)
        patients.append(_Patient(name, own, labels.most_common(1)[0][0] if labels else None, trains))
    if not any(patient.trains for patient in patients):
        raise DataError("there is no patient to train on", where=manifest, remedy="Look at column 'split'.")
    return patients


def _by_column(
    manifest: Path, rows: list[Row], patients: list[_Patient], column: str
) -> dict[str, list[_Patient]]:
    if column not in rows[0]:
        raise DataError(f"there is no column '{column}'; {suggestion(column, rows[0])}", where=manifest)
    values: dict[str, str] = {}  # of each site
    parts: dict[str, list[_Patient]] = defaultdict(list)
    for patient in patients:
        own = sorted({rows[number][column].strip() for number in patient.rows})
        if len(own) > 1:
            problem = f"patient '{patient.name}' has several values of '{column}': {', '.join(own)}"
            raise DataError(problem, where=manifest, remedy="All images of a patient belong to one site.")
        site = site_name(own[0])
        if not site or values.setdefault(site, own[0]) != own[0]:
            same = f"'{values[site]}' and '{own[0]}' give the same name" if site else "it can't be a name"
            problem = f"row {patient.rows[0] + 1}: '{own[0]}' in '{column}' makes no site: {same}"
            raise DataError(
                problem, where=manifest, remedy="A site's name needs a letter or digit of its own."
            )
        parts[site].append(patient)
    for site, part in parts.items():
        if not any(patient.trains for patient in part):
            remedy = f"Leave the rows with {column} = '{values[site]}' out, or change their split."
            raise DataError(f"site '{site}' has no patient to train on", where=manifest, remedy=remedy)
    return dict(sorted(parts.items()))


def site_name(value: str) -> str:
    """Return a value as a site's name, letters without accents; nothing where no letter or digit is in it."""
    plain = unicodedata.normalize("NFKD", value.casefold())
    plain = "".join(letter for letter in plain if not unicodedata.combining(letter))
    return re.sub(r"[^a-z0-9._-]+", "-", plain).lstrip("._-")[:63].rstrip("-")


def _drawn(
    manifest: Path, patients: list[_Patient], sites: int | None, scheme: Scheme, seed: int
) -> dict[str, list[_Patient]]:
    training = sum(patient.trains for patient in patients)
    if sites is None or sites < 1:
        raise WardroundError("the number of sites is missing", remedy="Give --sites N, with N at least 1.")
    if sites > training:
        problem = f"{sites} sites are too many for {training} patients to train on"
        raise DataError(problem, where=manifest, remedy="Give a smaller number of sites.")
    names = [f"site-{number:02d}" for number in range(1, sites + 1)]
    for draw in range(_DRAWS):
        rng = np.random.default_rng(seed_of("partition", scheme.kind, sites, seed, draw))
        parts = _spread(rng, patients, sites, scheme)
        if all(any(patient.trains for patient in part) for part in parts):
            return dict(zip(names, parts, strict=True))
    problem = f"in {_DRAWS} draws some of the {sites} sites always had no patient to train on"
    raise DataError(problem, where=manifest, remedy="Give fewer sites, or a larger number to dirichlet.")


def _spread(
    rng: np.random.Generator, patients: list[_Patient], sites: int, scheme: Scheme
) -> list[list[_Patient]]:
    shuffled = [patients[number] for number in rng.permutation(len(patients))]
    if scheme.kind == "iid":
        shuffled.sort(key=lambda patient: not patient.trains)  # dealt first: each site gets its share of them
        return [shuffled[site::sites] for site in range(sites)]
    if patients[0].label is None:
        shares = rng.dirichlet(np.full(sites, scheme.alpha))
        ends = np.rint(np.cumsum(shares) * len(shuffled)).astype(int)
        return [shuffled[start:end] for start, end in zip([0, *ends[:-1]], ends, strict=True)]
    return _spread_labels(rng, shuffled, sites, scheme.alpha)


def _spread_labels(
    rng: np.random.Generator, shuffled: list[_Patient], sites: int, alpha: float
) -> list[list[_Patient]]:
    waiting: dict[str | None, list[_Patient]] = defaultdict(list)
    for patient in sorted(shuffled, key=lambda patient: str(patient.label)):
        waiting[patient.label].append(patient)
    queues = list(waiting.values())
    shares = np.array([len(queue) for queue in queues]) / len(shuffled)
    mixes = np.maximum(rng.dirichlet(alpha * shares, sites), 1e-12)  # a label that ran out is replaced by any
    parts: list[list[_Patient]] = [[] for _ in range(sites)]
    for turn in range(len(shuffled)):  # in turns: the last site does not get what the others left
        site = turn % sites
        weights = mixes[site] * [bool(queue) for queue in queues]
        parts[site].append(queues[rng.choice(len(queues), p=weights / weights.sum())].pop())
    return parts
