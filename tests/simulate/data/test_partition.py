import csv
import random
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from client.data.manifest.rows import scan_manifest
from client.data.manifest.side_tables import SideTable, side_table_path
from shared.errors import DataError, WardroundError
from simulate.data.partition import partition, site_name, write_site_manifests

fresh = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
Row = dict[str, str]


def write(folder: Path, rows: list[Row]) -> Path:
    path = folder / "manifest.csv"
    with path.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return path


def dataset(patients: int, labels: str = "abc", images: int = 2) -> list[Row]:
    return [
        {"patient": f"p{number:03d}", "image": f"{number}-{image}.png", "label": labels[number % len(labels)]}
        for number in range(patients)
        for image in range(images)
    ]


def named(rows: list[Row], parts: dict[str, list[int]]) -> dict[str, set[str]]:
    return {site: {rows[number]["image"] for number in numbers} for site, numbers in parts.items()}


rows_strategy = st.lists(
    st.tuples(st.integers(0, 30), st.sampled_from("abcd"), st.sampled_from(["train", "test", ""])),
    min_size=1,
    max_size=80,
).map(
    lambda drawn: [
        # one side a patient: that of its first row
        {
            "patient": f"p{patient}",
            "image": f"{number}.png",
            "label": label,
            "split": next(split for other, _, split in drawn if other == patient),
        }
        for number, (patient, label, split) in enumerate(drawn)
    ]
)


@fresh
@given(
    rows=rows_strategy,
    sites=st.integers(1, 6),
    scheme=st.sampled_from(["iid", "dirichlet:0.3", "dirichlet:100"]),
    labelled=st.booleans(),
    seed=st.integers(0, 1000),
    shuffle=st.randoms(use_true_random=False),
)
def test_every_sample_is_in_one_site_whatever_the_order_of_the_rows(
    tmp_path: Path,
    *,
    rows: list[Row],
    sites: int,
    scheme: str,
    labelled: bool,
    seed: int,
    shuffle: random.Random,
) -> None:
    column = "label" if labelled else "none"
    try:
        parts = partition(write(tmp_path, rows), sites, scheme, seed, label=column)
    except DataError:
        training = {row["patient"] for row in rows if row["split"] != "test"}
        assert len(training) < sites or scheme != "iid"
        return
    assert sorted(number for part in parts.values() for number in part) == list(range(len(rows)))
    assert len(parts) == sites
    assert all(any(rows[number]["split"] != "test" for number in part) for part in parts.values())
    homes: dict[str, set[str]] = {}
    for site, part in parts.items():
        assert part == sorted(part)
        for number in part:
            homes.setdefault(rows[number]["patient"], set()).add(site)
    assert all(len(home) == 1 for home in homes.values())
    mixed = list(rows)
    shuffle.shuffle(mixed)
    again = partition(write(tmp_path, mixed), sites, scheme, seed, label=column)
    if len({tuple(row.items()) for row in rows}) == len(rows):
        assert named(mixed, again) == named(rows, parts)


def test_another_seed_gives_another_partition(tmp_path: Path) -> None:
    manifest = write(tmp_path, dataset(60))
    drawn = [partition(manifest, 4, scheme, seed) for scheme in ("iid", "dirichlet:1") for seed in (1, 2)]
    assert drawn[0] != drawn[1]
    assert drawn[2] != drawn[3]


def unevenness(rows: list[Row], parts: dict[str, list[int]]) -> float:
    """Return the mean total variation between a site's labels and everybody's."""
    labels = sorted({row["label"] for row in rows})
    shares = [
        [sum(rows[number]["label"] == label for number in part) / len(part) for label in labels]
        for part in (*parts.values(), list(range(len(rows))))
    ]
    return float(np.mean([np.abs(np.subtract(site, shares[-1])).sum() / 2 for site in shares[:-1]]))


def test_a_small_alpha_skews_the_labels_and_a_large_one_does_not(tmp_path: Path) -> None:
    rows = dataset(400, labels="aaaaabbbcc", images=1)
    manifest = write(tmp_path, rows)

    def mean(scheme: str) -> float:
        return float(np.mean([unevenness(rows, partition(manifest, 5, scheme, seed)) for seed in range(8)]))

    assert mean("dirichlet:10000") < 0.12
    assert mean("iid") < 0.12
    assert mean("dirichlet:0.1") > 0.35
    assert mean("dirichlet:0.1") > mean("dirichlet:5") > mean("dirichlet:10000")
    sizes = [len(part) for part in partition(manifest, 5, "dirichlet:0.1", 1).values()]
    assert max(sizes) - min(sizes) <= 1


def test_without_labels_the_sizes_of_the_sites_are_skewed(tmp_path: Path) -> None:
    rows = [{"patient": row["patient"], "mask": row["image"]} for row in dataset(300, images=1)]
    manifest = write(tmp_path, rows)
    even = [len(part) for part in partition(manifest, 5, "dirichlet:10000", 1).values()]
    uneven = [len(part) for part in partition(manifest, 5, "dirichlet:0.5", 1).values()]
    assert max(even) < 1.2 * min(even)
    assert max(uneven) > 3 * min(uneven)


def test_a_patient_counts_by_its_most_frequent_label(tmp_path: Path) -> None:
    rows = [
        {"patient": f"p{number}", "image": f"{number}-{image}", "label": label}
        for number in range(40)
        for image, label in enumerate(["x", "ab"[number % 2], "ab"[number % 2]])
    ]
    manifest = write(tmp_path, rows)
    cuts = [partition(manifest, 2, "dirichlet:0.001", seed) for seed in range(10)]
    mixes = [[{rows[number]["label"] for number in part} for part in cut.values()] for cut in cuts]
    assert [{"a", "x"}, {"b", "x"}] in mixes


def test_a_column_gives_the_sites(tmp_path: Path) -> None:
    rows = [row | {"hospital": "St. Mary" if row["patient"] < "p005" else "unc_EZ"} for row in dataset(12)]
    parts = partition(write(tmp_path, rows), None, "column:hospital", 1)
    assert list(parts) == ["st.-mary", "unc_ez"]
    assert {rows[number]["hospital"] for number in parts["unc_ez"]} == {"unc_EZ"}
    assert sum(map(len, parts.values())) == len(rows)


@fresh
@given(st.lists(st.text(min_size=1, max_size=90), min_size=1, max_size=5, unique=True))
def test_names_of_sites_are_valid_or_refused(tmp_path: Path, values: list[str]) -> None:
    rows = [{"patient": f"p{number}", "at": value} for number, value in enumerate(values)]
    try:
        parts = partition(write(tmp_path, rows), None, "column:at", 1)
    except DataError:
        return
    assert len(parts) == len({value.strip() for value in values})
    assert all(re.fullmatch(r"[a-z0-9][a-z0-9._-]{0,62}", site) for site in parts)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"p001": "A b", "p002": "a-b"}, "the same name"),
        ({"p001": "--"}, "row 3: '--' in 'at'"),
        ({"p001": ""}, "row 3: ''"),
    ],
)
def test_values_that_make_no_site_are_named(tmp_path: Path, changes: Row, message: str) -> None:
    rows = [row | {"at": changes.get(row["patient"], "north")} for row in dataset(4)]
    with pytest.raises(DataError, match=re.escape(message)):
        partition(write(tmp_path, rows), None, "column:at", 1)


def test_a_patient_of_two_hospitals_is_named(tmp_path: Path) -> None:
    rows = [row | {"at": "ab"[number % 2]} for number, row in enumerate(dataset(4))]
    with pytest.raises(DataError, match=r"patient 'p000' has several values of 'at': a, b"):
        partition(write(tmp_path, rows), None, "column:at", 1)


def test_a_hospital_with_nobody_to_train_on_is_named(tmp_path: Path) -> None:
    rows = [
        row | {"at": row["label"], "split": "test" if row["label"] == "b" else "train"} for row in dataset(9)
    ]
    with pytest.raises(DataError, match="site 'b' has no patient to train on"):
        partition(write(tmp_path, rows), None, "column:at", 1)


@pytest.mark.parametrize(
    ("scheme", "message"),
    [
        ("dirichlt:0.3", "did you mean 'dirichlet'"),
        ("idd", "did you mean 'iid'"),
        ("dirichlet", "needs a number"),
        ("dirichlet:-1", "needs a number"),
        ("dirichlet:nan", "needs a number"),
        ("dirichlet:a lot", "needs a number"),
        ("column:", "not complete"),
        ("iid:3", "not complete"),
        ("column:hospitl", "no column 'hospitl'"),
    ],
)
def test_a_wrong_scheme_is_explained(tmp_path: Path, scheme: str, message: str) -> None:
    with pytest.raises(WardroundError, match=message):
        partition(write(tmp_path, dataset(9)), 3, scheme, 1)


@pytest.mark.parametrize("sites", [None, 0, -2, 10])
def test_a_number_of_sites_that_cannot_be_is_refused(tmp_path: Path, sites: int | None) -> None:
    with pytest.raises(WardroundError, match="sites"):
        partition(write(tmp_path, dataset(9)), sites, "iid", 1)


def test_a_partition_that_leaves_sites_empty_is_given_up(tmp_path: Path) -> None:
    rows = [{"patient": f"p{number}"} for number in range(20)]
    with pytest.raises(DataError, match="in 100 draws"):
        partition(write(tmp_path, rows), 15, "dirichlet:0.01", 1)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("image\na.png\n", "column 'patient' is missing"),
        ("patient,image\n,a.png\n", "row 2 names no patient"),
        ("patient,image\np1,a.png,more\n", "row 2 has more cells"),
        ("patient,image\n", "no patient to train on"),
        ("patient,split\np1,test\n", "no patient to train on"),
    ],
)
def test_a_broken_manifest_is_explained(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "manifest.csv"
    path.write_text(text)
    with pytest.raises(DataError, match=message):
        partition(path, 1, "iid", 1)


def test_a_manifest_from_a_spreadsheet_is_cut_as_it_is_read_elsewhere(tmp_path: Path) -> None:
    path = tmp_path / "manifest.csv"
    text = "sep=;\r\npatient;image;;\r\nJosé;a\\1.png;;\r\nJose\u0301;a\\2.png;;\r\nAnn;a\\3.png;;\r\n"
    path.write_bytes(text.encode("utf-16"))
    (tmp_path / "a").mkdir()
    for number in (1, 2, 3):
        (tmp_path / "a" / f"{number}.png").touch()
    parts = partition(path, 2, "iid", 1)
    assert sorted(sorted(rows) for rows in parts.values()) == [[0, 1], [2]]  # two forms of one name
    written = write_site_manifests(path, parts, tmp_path / "cut")
    assert all(file.exists() for cut in written.values() for file in images_of(cut))


def images_of(manifest: Path) -> list[Path]:
    return [record.images[0] for record in scan_manifest(manifest).records]


def test_a_missing_manifest_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"nowhere\.csv"):
        partition(tmp_path / "nowhere.csv", 2, "iid", 1)


def test_tables_beside_the_manifest_and_places_in_its_cells_stay_readable(tmp_path: Path) -> None:
    (tmp_path / "boxes.csv").write_text("image,x_min,y_min,x_max,y_max\na.png,1,2,3,4\n")
    path = tmp_path / "manifest.csv"
    path.write_text('patient,image,points\np,a.png,"[[1, 2]]"\nq,b.png,more.json\n')
    for name in ("a.png", "b.png", "more.json"):
        (tmp_path / name).touch()
    files = ("image", "boxes.csv", "points")
    written = write_site_manifests(path, partition(path, 1, "iid", 1), tmp_path / "cut", files=files)
    first, second = scan_manifest(written["site-01"]).records
    assert SideTable.read(side_table_path(first, "boxes.csv")).of(first)[0]["x_max"] == "3"
    assert first.cells["points"] == "[[1, 2]]"
    assert second.file("points").exists()


def test_manifests_of_the_sites_hold_every_row_once_with_paths_that_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "data").mkdir()
    rows = [row | {"mask": "" if row["label"] == "a" else "m.png", "age": "7"} for row in dataset(9)]
    monkeypatch.chdir(tmp_path)
    manifest = write(Path("data"), rows)
    parts = partition(manifest, 3, "iid", 1)
    written = write_site_manifests(manifest, parts, Path("cut"))
    seen = []
    for site, path in written.items():
        with path.open(newline="", encoding="utf-8") as stream:
            own = list(csv.DictReader(stream))
        assert {row["site"] for row in own} == {site}
        assert {row["age"] for row in own} == {"7"}
        assert all((row["mask"] == "") == (row["label"] == "a") for row in own)
        assert all(Path(row["mask"] or "/").is_absolute() for row in own)
        seen += [row["image"] for row in own]
    assert sorted(seen) == sorted(str(tmp_path / "data" / row["image"]) for row in rows)


def test_real_hospitals_keep_their_rows(data_pack: Callable[[str], Path]) -> None:
    manifest = data_pack("brain_lgg_5sites_2d") / "manifest.csv"
    parts = partition(manifest, None, "column:site", 1)
    assert {site: len(part) for site, part in parts.items()} == {
        "case_western_fg": 140,
        "case_western_st_joes_ht": 338,
        "henry_ford_du": 450,
        "thomas_jefferson_cs": 157,
        "unc_ez": 10,
    }


@pytest.mark.parametrize(
    ("value", "name"),
    [
        ("Köln Süd", "koln-sud"),
        ("Hôpital Saint-Louis", "hopital-saint-louis"),
        ("Gießen", "giessen"),
        ("北京", ""),
    ],
)
def test_a_hospital_keeps_its_letters(value: str, name: str) -> None:
    assert site_name(value) == name
