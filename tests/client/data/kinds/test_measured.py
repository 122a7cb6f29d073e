"""What scanners measured: k-space and rays, as a network's scanner model gets them."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from client.data.kinds import Kind, given_kinds_of, kinds_of
from client.data.kinds.row_images import NOTHING
from client.data.kinds.tally import Tally
from client.data.manifest.rows import Record
from shared.errors import DataError
from tests.jobs import make_job


def kind_of(measurement: dict[str, Any], size: list[int], *, kspace: str | None = "scan") -> Kind:
    data = {"size": size, **({} if kspace else {"intensity": "minmax"})}
    job = make_job(task_name="reconstruction", task_measurement=measurement, task_kspace=kspace, data=data)
    [kind] = (kinds_of(job) if kspace else given_kinds_of(job)).values()
    return kind


def record(folder: Path, **cells: str) -> Record:
    return Record(row=1, patient="a", images=(), cells=cells, folder=folder)


def kspace_of(image: np.ndarray) -> np.ndarray:
    moved = np.fft.ifftshift(image, axes=(-2, -1))
    return np.fft.fftshift(np.fft.fft2(moved, norm="ortho"), axes=(-2, -1)).astype(np.complex64)


def test_kspace_keeps_its_coils_and_is_of_one_scale(tmp_path: Path) -> None:
    image = np.random.default_rng(0).normal(0, 1e-3, (2, 16, 12))
    image[0, 4:9, 3:7], image[1, 4:9, 5:9] = 300, 400  # 500 where both are
    whole = kspace_of(image)
    np.save(tmp_path / "a.npy", whole)
    kind = kind_of({"kind": "cartesian", "coils": 2}, [16, 12])
    value = kind.read(record(tmp_path, scan="a.npy"), NOTHING)
    assert value.shape == (5, 16, 12)
    assert value[:2] + 1j * value[2:4] == pytest.approx(whole / 500, rel=1e-4, abs=1e-6)
    assert (value[4] == 1).all()


def test_a_larger_matrix_is_cut_and_a_smaller_one_refused(tmp_path: Path) -> None:
    whole = kspace_of(np.random.default_rng(0).normal(size=(1, 16, 12)))
    np.save(tmp_path / "a.npy", whole)
    kind = kind_of({"kind": "cartesian"}, [8, 12])
    value = kind.read(record(tmp_path, scan="a.npy"), NOTHING)
    assert value.shape == (3, 8, 12)
    middle, found = whole[0, 4:12], value[0] + 1j * value[1]
    assert found / found[4, 6] == pytest.approx(middle / middle[4, 6], rel=1e-3, abs=1e-4)
    with pytest.raises(DataError, match="a matrix of 16 x 12, and the job wants 16 x 16"):
        kind_of({"kind": "cartesian"}, [16, 16]).read(record(tmp_path, scan="a.npy"), NOTHING)


def test_a_check_tells_what_lacks(tmp_path: Path) -> None:
    some = kspace_of(np.ones((3, 8, 8)))
    some[:, :, 0] = 0
    some[:, :, 1:] += 1
    np.save(tmp_path / "a.npy", some)
    tally = Tally(rows=1)
    kind_of({"kind": "cartesian", "coils": 3}, [8, 8]).describe(record(tmp_path, scan="a.npy"), tally)
    assert tally.numbers["coils"].highest == 3
    assert tally.numbers["share of k-space that was measured"].highest == 7 / 8
    assert "gives an image, but nothing to learn from (1 of 1 rows)" in "".join(tally.doubts())


def test_what_does_not_fit_is_named(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", kspace_of(np.ones((3, 8, 8))))
    np.save(tmp_path / "zero.npy", np.zeros((8, 8), np.complex64))
    (tmp_path / "torn.h5").write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(100))
    one = kind_of({"kind": "cartesian"}, [8, 8])
    for file, said in (
        ("a.npy", "has 3 coils, and the job wants 1"),
        ("zero.npy", "nothing was measured"),
        ("torn.h5", "can't be read"),
        ("none.npy", "the file is missing"),
    ):
        with pytest.raises(DataError, match=said) as error:
            one.read(record(tmp_path, scan=file), NOTHING)
        assert ("`scan_slice`" in str(error.value)) == (file == "a.npy")  # its axis may be slices
    with pytest.raises(DataError, match="no slice 0"):
        one.read(record(tmp_path, scan="a.npy", scan_slice="0"), NOTHING)
    with pytest.raises(DataError, match="no number of a slice"):
        one.read(record(tmp_path, scan="a.npy", scan_slice="-1"), NOTHING)


def test_a_row_says_which_slice_it_is(tmp_path: Path) -> None:
    whole = kspace_of(np.random.default_rng(0).normal(size=(4, 1, 8, 8)))
    np.save(tmp_path / "a.npy", whole)
    kind = kind_of({"kind": "cartesian"}, [8, 8])
    first, third = (record(tmp_path, scan="a.npy", scan_slice=number) for number in "13")
    assert kind.source(first) != kind.source(third)
    found = kind.read(third, NOTHING)[0]
    assert found / found[4, 4] == pytest.approx(whole[2, 0].real / whole[2, 0, 4, 4].real, rel=1e-3)


def test_rays_are_of_the_angles_of_the_job(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.arange(78).reshape(6, 13))
    kind = kind_of({"kind": "parallel-beam", "angles": 6}, [8, 10], kspace=None)
    assert kind.read(record(tmp_path, rays="a.npy"), NOTHING).shape == (1, 6, 13)  # the diagonal
    other = kind_of({"kind": "pet", "angles": 7}, [8, 10], kspace=None)
    with pytest.raises(DataError, match="7 angles of 13 rays"):
        other.read(record(tmp_path, rays="a.npy"), NOTHING)
