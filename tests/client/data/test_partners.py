"""Pairs that a site makes of its own patients."""

from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from client.data.check.dataset_check import check_dataset
from client.data.check.expected import Expected
from client.data.manifest.partners import with_partners
from client.data.manifest.rows import Manifest, Record
from client.data.manifest.splits import CohortKey, Split
from client.data.samples.site_data import SiteData
from shared.errors import DataError
from shared.tasks.fields import Pairing
from tests.conftest import write_dataset
from tests.jobs import make_job

COLUMNS = ("patient", "image", "mask")


def rows(patients: list[int], side: str = "train") -> list[tuple[Record, str]]:
    """Return rows of patients who have so many images each."""
    cells = [
        {"patient": f"{side}-{patient}", "image": f"{side}-{patient}-{image}.png", "mask": "m"}
        for patient, images in enumerate(patients)
        for image in range(images)
    ]
    return [(Record(number, own["patient"], (), cells=own), side) for number, own in enumerate(cells, 2)]


def manifest(columns: tuple[str, ...] = COLUMNS) -> Manifest:
    return Manifest(Path("manifest.csv"), columns, [], [])


@given(
    st.lists(st.integers(1, 3), max_size=8),
    st.lists(st.integers(1, 3), max_size=4),
    st.integers(1, 9),
    st.integers(0, 99),
)
def test_pairs_are_of_two_patients_of_one_side_and_each_is_as_often_the_other(
    training: list[int], testing: list[int], partners: int, seed: int
) -> None:
    own = [*rows(training), *rows(testing, "test")]
    pairs = with_partners(manifest(), own, Pairing({"moving": "image"}, partners), seed)
    for side, patients in (("train", training), ("test", testing)):
        found = [record for record, where in pairs if where == side]
        each = min(partners, len(patients) - 1)
        assert Counter(record.row for record in found) == Counter(
            {record.row: each for record, where in own if where == side and each > 0}
        )
        others = Counter((record.patient, record.cells["moving"].rsplit("-", 1)[0]) for record in found)
        assert all(patient != other and other.startswith(side) for patient, other in others)
        if set(patients) == {1} and each > 0:
            assert set(Counter(record.cells["moving"] for record in found).values()) == {each}


def test_another_seed_makes_other_pairs_and_the_order_of_rows_none() -> None:
    def pairs(own: list[tuple[Record, str]], seed: int) -> set[tuple[str, str]]:
        found = with_partners(manifest(), own, Pairing({"moving": "image"}, 2), seed)
        return {(record.patient, record.cells["moving"]) for record, _ in found}

    own = rows([1] * 8)
    assert pairs(own, 1) == pairs(own[::-1], 1) != pairs(own, 2)


def test_a_column_that_would_be_written_over_is_named() -> None:
    with pytest.raises(DataError, match="has a column 'moving'"):
        with_partners(manifest((*COLUMNS, "moving")), rows([1, 1]), Pairing({"moving": "image"}, 1), 0)


def test_a_site_reads_both_images_of_a_pair_with_their_masks(tmp_path: Path) -> None:
    path = write_dataset(tmp_path / "data", ("alpha",), patients=12)
    job = make_job(task_name="registration", task_classes=["disc"], task_partners=2, data_augment=None)
    data = SiteData.load(path, job, site="alpha", split=Split(CohortKey.drawn(1)))
    train = data.split("train")
    assert len(train) == 2 * 2 * data.patients["train"] == data.examples["train"]
    batch = train.batch(range(len(train)))
    single = make_job(data_augment=None, data_intensity="percentile")
    alone = SiteData.load(path, single, site="alpha", split=Split(CohortKey.drawn(1))).split("train")
    known = {
        alone.patients[n]: {
            bytes(alone.batch([n])["image"].numpy())
            for n in range(len(alone))
            if alone.patients[n] == patient
        }
        for n, patient in enumerate(alone.patients)
    }
    for number, patient in enumerate(batch.patients):
        assert bytes(batch["fixed"][number : number + 1].numpy()) in known[patient]
        others = {
            other
            for other, images in known.items()
            if bytes(batch["moving"][number : number + 1].numpy()) in images
        }
        assert len(others) == 1
        assert patient not in others
    bright = (batch["moving"][:, 0] * (batch["moving_mask"] > 0)).sum() / (batch["moving_mask"] > 0).sum()
    assert float(bright) > 0.7


def test_rows_that_have_both_images_are_taken_as_they_are(tmp_path: Path) -> None:
    path = write_dataset(tmp_path / "data", ("alpha",), patients=3)
    header, *lines = path.read_text().splitlines()
    place = header.split(",").index("image")
    images = [line.split(",")[place] for line in lines]
    path.write_text(
        "\n".join(
            [
                f"{header},moving",
                *(f"{line},{other}" for line, other in zip(lines, images[::-1], strict=True)),
            ]
        )
    )
    job = make_job(task_name="registration", task_pairs="rows", data_augment=None)
    data = SiteData.load(path, job, site="alpha", split=Split(CohortKey.drawn(1)))
    assert sum(data.examples.values()) == len(lines)


def test_a_check_names_a_side_with_nobody_to_be_paired_with(tmp_path: Path) -> None:
    path = write_dataset(tmp_path / "data", ("alpha",), patients=3)
    job = make_job(task_name="registration", task_classes=["disc"])
    report = check_dataset(path, Expected.of(job), split=Split(CohortKey.drawn(1)))
    assert not report.errors
    sides = {side for side, (patients, _) in report.sites["alpha"].items() if patients == 1}
    assert sides
    for side in sides:
        assert any(f"one patient in '{side}'" in warning for warning in report.warnings)
