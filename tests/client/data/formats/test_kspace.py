"""Files of k-space: arrays, HDF5 as of fastMRI, and ISMRMRD."""

import os
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from numpy.typing import NDArray

from client.data.check.identifying_headers import identifying_fields
from client.data.formats.kspace import read_kspace
from shared.errors import DataError

HEADER = """<?xml version="1.0"?><ismrmrdHeader xmlns="http://www.ismrm.org/ISMRMRD"><encoding>
<encodedSpace><matrixSize><x>{x}</x><y>10</y><z>1</z></matrixSize>
<fieldOfView_mm><x>{view}</x><y>200</y><z>5</z></fieldOfView_mm></encodedSpace>
<reconSpace><matrixSize><x>12</x><y>10</y><z>1</z></matrixSize>
<fieldOfView_mm><x>240</x><y>200</y><z>5</z></fieldOfView_mm></reconSpace></encoding></ismrmrdHeader>"""


def noise(*shape: int, seed: int = 0) -> NDArray[np.complex64]:
    real, imaginary = np.random.default_rng(seed).normal(size=(2, *shape))
    return (real + 1j * imaginary).astype(np.complex64)


def ifft(kspace: NDArray[np.complex64], axis: int) -> NDArray[np.complex64]:
    moved = np.fft.ifftshift(kspace, axes=axis)
    return np.fft.fftshift(np.fft.ifft(moved, axis=axis), axes=axis)


STEPS = ("kspace_encode_step_1", "kspace_encode_step_2")
COUNTERS = ("average", "slice", "contrast", "phase", "repetition", "set")


def write_lines(path: Path, rows: list[dict[str, Any]], header: str) -> None:
    """Write single lines: `values` (K, samples), and what their heads say."""
    index = np.dtype([(name, "<u2") for name in (*STEPS, *COUNTERS)])
    names = ("number_of_samples", "active_channels", "center_sample", "trajectory_dimensions")
    head = np.dtype([("flags", "<u8"), *((name, "<u2") for name in names), ("idx", index)])
    table = np.zeros(len(rows), [("head", head), ("data", h5py.vlen_dtype(np.float32))])
    for row, told in zip(table, rows, strict=True):
        values = np.ascontiguousarray(told["values"])
        coils, length = values.shape
        numbers = tuple(told.get(name, 0) for name in (*STEPS, *COUNTERS))
        middle = told.get("center_sample", length // 2)
        row["head"] = (told.get("flags", 0), length, coils, middle, 0, numbers)
        row["data"] = values.view(np.float32).ravel()
    with h5py.File(path, "w") as file:
        file["dataset/data"] = table
        file["dataset/xml"] = np.array([header], object)


def lines_of(kspace: NDArray[np.complex64], **told: Any) -> list[dict[str, Any]]:
    """Return the lines of a slice (K, X, Y)."""
    return [{"values": kspace[:, :, line], STEPS[0]: line, **told} for line in range(kspace.shape[2])]


def write_acquisitions(path: Path, kspace: NDArray[np.complex64], *, drop: int | None = None) -> None:
    """Write slices (N, K, X, Y) as single lines, each measured twice, with a line of noise before."""
    coils, readout = kspace.shape[1:3]
    rows: list[dict[str, Any]] = [{"flags": 1 << 18, "values": noise(coils, readout)}]
    for number, own in enumerate(kspace):
        for part in (2 * own, 0 * own):  # their mean is it
            rows += [row for row in lines_of(part, slice=number) if row[STEPS[0]] != drop]
    write_lines(path, rows, HEADER.format(x=readout, view=240 * readout / 12))


def test_arrays_are_of_one_coil_or_several(tmp_path: Path) -> None:
    whole = noise(3, 8, 10)
    np.save(tmp_path / "coils.npy", whole)
    np.save(tmp_path / "one.npy", whole[0])
    found = read_kspace(tmp_path / "coils.npy", 2)
    assert np.array_equal(found.samples, whole)
    assert found.taken.all()
    assert found.field_of_view is None
    assert np.array_equal(read_kspace(tmp_path / "one.npy", 2).samples, whole[:1])
    assert read_kspace(tmp_path / "coils.npy", 3).shape == (3, 8, 10)  # a volume of one coil


def test_what_is_zero_in_all_coils_was_not_measured(tmp_path: Path) -> None:
    some = noise(2, 8, 10)
    some[:, :, 3] = 0
    some[0, :, 4] = 0
    np.save(tmp_path / "some.npy", some)
    taken = read_kspace(tmp_path / "some.npy", 2).taken
    assert not taken[:, 3].any()
    assert taken[:, 4].all()


def test_a_file_of_fastmri_holds_slices(tmp_path: Path) -> None:
    whole = noise(4, 3, 24, 10)
    with h5py.File(tmp_path / "knee.h5", "w") as file:
        file["kspace"] = whole
        file["ismrmrd_header"] = HEADER.format(x=24, view=480)
    with pytest.raises(DataError, match="holds 4 slices"):
        read_kspace(tmp_path / "knee.h5", 2)
    with pytest.raises(DataError, match="no slice 5"):
        read_kspace(tmp_path / "knee.h5", 2, 5)
    found = read_kspace(tmp_path / "knee.h5", 2, 2)
    assert found.shape == (12, 10)  # the readout was sampled twice as finely as the image is wide
    assert found.field_of_view == (240, 200)
    assert ifft(found.samples, 1) == pytest.approx(ifft(whole[1], 1)[:, 6:18], abs=1e-5)


def test_lines_of_ismrmrd_are_put_where_they_belong(tmp_path: Path) -> None:
    whole = noise(2, 3, 12, 10)
    write_acquisitions(tmp_path / "scan.h5", whole, drop=7)
    found = read_kspace(tmp_path / "scan.h5", 2, 2)
    expected = whole[1].copy()
    expected[:, :, 7] = 0
    assert found.samples == pytest.approx(expected, abs=1e-6)
    assert found.taken.all(axis=0).tolist() == [line != 7 for line in range(10)]
    assert found.field_of_view == (240, 200)


def test_a_file_of_fastmri_of_a_single_coil_holds_slices(tmp_path: Path) -> None:
    """Their width is not that of the header, and the readout is cut for all that."""
    whole = noise(4, 24, 8)
    with h5py.File(tmp_path / "knee.h5", "w") as file:
        file["kspace"] = whole
        file["ismrmrd_header"] = HEADER.format(x=24, view=480)
    with pytest.raises(DataError, match="holds 4 slices"):
        read_kspace(tmp_path / "knee.h5", 2)
    found = read_kspace(tmp_path / "knee.h5", 2, 3)
    assert ifft(found.samples, 1) == pytest.approx(ifft(whole[2:3], 1)[:, 6:18], abs=1e-5)
    assert found.field_of_view == (240, 200)


def test_only_the_slice_that_is_asked_for_is_read(tmp_path: Path) -> None:
    whole = noise(3, 2, 8, 10)
    with h5py.File(tmp_path / "knee.h5", "w") as file:
        file.create_dataset("kspace", data=whole, chunks=(1, 2, 8, 10), compression="gzip")
        place = file["kspace"].id.get_chunk_info(2).byte_offset
    with (tmp_path / "knee.h5").open("r+b") as torn:
        torn.seek(place)
        torn.write(bytes(40))
    assert np.array_equal(read_kspace(tmp_path / "knee.h5", 2, 1).samples, whole[0])
    with pytest.raises(OSError, match=r".+"):
        read_kspace(tmp_path / "knee.h5", 2, 3)


def test_there_is_no_slice_0(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", noise(2, 3, 8, 10))
    np.save(tmp_path / "one.npy", noise(8, 10))
    write_acquisitions(tmp_path / "scan.h5", noise(2, 3, 12, 10))
    for name in ("a.npy", "one.npy", "scan.h5"):
        with pytest.raises(DataError, match="no slice 0"):
            read_kspace(tmp_path / name, 2, 0)


LIMITS = """<encodingLimits><kspace_encoding_step_1><minimum>0</minimum><maximum>6</maximum><center>2</center>
</kspace_encoding_step_1></encodingLimits></encoding>"""


def test_lines_are_counted_from_where_the_header_says(tmp_path: Path) -> None:
    """Partial Fourier: the middle of k-space is the line 2, not the half of the matrix."""
    part = noise(2, 12, 7)
    header = HEADER.format(x=12, view=240).replace("</encoding>", LIMITS)
    write_lines(tmp_path / "scan.h5", lines_of(part), header)
    found = read_kspace(tmp_path / "scan.h5", 2)
    assert found.samples[:, :, 3:] == pytest.approx(part, abs=1e-6)
    assert found.taken.all(axis=0).tolist() == [False] * 3 + [True] * 7


def test_a_partial_echo_lacks_samples(tmp_path: Path) -> None:
    for readout, kept in ((12, 9), (24, 9)):
        whole = noise(1, readout, 10)
        part = whole[:, readout // 4 :]
        rows = lines_of(part, center_sample=readout // 4)
        write_lines(tmp_path / "scan.h5", rows, HEADER.format(x=readout, view=20 * readout))
        found = read_kspace(tmp_path / "scan.h5", 2)
        assert found.taken.sum(axis=0).tolist() == [kept] * 10
        assert found.taken[-kept:].all()
        assert not found.samples[:, :-kept].any()


@pytest.mark.parametrize("bit", [19, 20, 23, 24, 26, 27, 28, 29, 30, 31])
def test_lines_of_no_image_are_left_out(tmp_path: Path, bit: int) -> None:
    whole = noise(2, 12, 10)
    rows = lines_of(whole) + lines_of(noise(2, 12, 10, seed=1), flags=1 << (bit - 1), contrast=1)
    write_lines(tmp_path / "scan.h5", rows, HEADER.format(x=12, view=240))
    assert read_kspace(tmp_path / "scan.h5", 2).samples == pytest.approx(whole, abs=1e-6)


def test_lines_of_calibration_and_image_are_both(tmp_path: Path) -> None:
    whole = noise(2, 12, 10)
    write_lines(tmp_path / "scan.h5", lines_of(whole, flags=1 << 20), HEADER.format(x=12, view=240))
    assert read_kspace(tmp_path / "scan.h5", 2).samples == pytest.approx(whole, abs=1e-6)


@pytest.mark.parametrize(
    ("told", "said"),
    [
        ({"contrast": 1}, "several values of 'contrast'"),
        ({"phase": 1}, "several values of 'phase'"),
        ({"set": 1}, "several values of 'set'"),
        ({"flags": 1 << 21}, "read backwards"),
    ],
)
def test_images_that_differ_are_not_averaged(tmp_path: Path, told: dict[str, int], said: str) -> None:
    whole = noise(2, 12, 10)
    write_lines(
        tmp_path / "scan.h5", lines_of(whole) + lines_of(whole, **told), HEADER.format(x=12, view=240)
    )
    with pytest.raises(DataError, match=said):
        read_kspace(tmp_path / "scan.h5", 2)


def test_a_header_that_names_somebody_is_found(tmp_path: Path) -> None:
    write_acquisitions(tmp_path / "scan.h5", noise(1, 1, 12, 10))
    assert identifying_fields(tmp_path / "scan.h5") == frozenset()
    named = HEADER.format(x=12, view=240).replace(
        "<encoding>", "<subjectInformation><patientName>Ann</patientName></subjectInformation><encoding>", 1
    )
    with h5py.File(tmp_path / "scan.h5", "a") as file:
        file["dataset/xml"][0] = named
    assert identifying_fields(tmp_path / "scan.h5") == {"patientName"}


def test_a_finer_readout_is_cut_to_the_image(tmp_path: Path) -> None:
    whole = noise(1, 2, 24, 10)
    write_acquisitions(tmp_path / "scan.h5", whole)
    found = read_kspace(tmp_path / "scan.h5", 2)
    assert ifft(found.samples, 1) == pytest.approx(ifft(whole[0], 1)[:, 6:18], abs=1e-5)
    assert found.field_of_view == (240, 200)


def test_a_chunk_that_reaches_far_beyond_its_dataset_is_not_unpacked(tmp_path: Path) -> None:
    """One of 1 MB gave 1.1 GB, and packed twice a thousand times that, for a picture of 8 x 8."""
    path, kind, shape = tmp_path / "a.h5", h5py.h5t.py_create(np.dtype("c8")), (1, 8, 8)
    for chunk, times in (((1, 8, 8), 1), ((1, 8, 8), 2), ((1, 1500, 1500), 1)):
        how = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        how.set_chunk(chunk)
        for _ in range(times):
            how.set_deflate(9)
        with h5py.File(path, "w") as file:
            file["filler"] = np.zeros(2**14)
            space = h5py.h5s.create_simple(shape, (h5py.h5s.UNLIMITED,) * 3)
            values = h5py.h5d.create(file.id, b"kspace", kind, space, dcpl=how)
            values.write(h5py.h5s.ALL, h5py.h5s.ALL, np.ones(shape, "c8"))
        if chunk == shape and times == 1:
            assert read_kspace(path, 2).shape == (8, 8)
        else:
            with pytest.raises(DataError, match=r"has pieces of 18000000 bytes|is packed several times"):
                read_kspace(path, 2)


def test_where_a_link_leads_is_not_looked_at(tmp_path: Path) -> None:
    """A pipe that nobody writes was waited for, for ever."""
    os.mkfifo(tmp_path / "pipe")
    for name in ("dataset", "ismrmrd_header"):
        with h5py.File(tmp_path / "a.h5", "w") as file:
            file["kspace"] = np.ones((1, 8, 8), "c8")
            file[name] = h5py.ExternalLink(str(tmp_path / "pipe"), "/")
        with pytest.raises(DataError, match=f"'{name}' is a link"):
            read_kspace(tmp_path / "a.h5", 2)


def test_nothing_of_another_file_is_followed(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["kspace"] = noise(1, 8, 8)
    with h5py.File(tmp_path / "link.h5", "w") as file:
        file["kspace"] = h5py.ExternalLink(str(tmp_path / "other.h5"), "kspace")
    with h5py.File(tmp_path / "virtual.h5", "w") as file:
        layout = h5py.VirtualLayout((1, 8, 8), np.complex64)
        layout[:] = h5py.VirtualSource(str(tmp_path / "other.h5"), "kspace", (1, 8, 8))
        file.create_virtual_dataset("kspace", layout)
    for name, said in (("link", "is a link"), ("virtual", "does not lie in the file")):
        with pytest.raises(DataError, match=said):
            read_kspace(tmp_path / f"{name}.h5", 2)


@pytest.mark.parametrize(
    ("array", "said"),
    [
        (np.ones((8, 8), np.float32), "k-space is complex"),
        (np.full((8, 8), np.nan, np.complex64), "not finite"),
        (noise(2, 2, 2, 8, 8), "has 5 axes"),
    ],
)
def test_what_is_no_kspace_is_refused(tmp_path: Path, array: NDArray[np.generic], said: str) -> None:
    np.save(tmp_path / "a.npy", array)
    with pytest.raises(DataError, match=said):
        read_kspace(tmp_path / "a.npy", 2)
    with h5py.File(tmp_path / "empty.h5", "w") as file:
        file["image"] = [1.0]
    with pytest.raises(DataError, match="has no 'kspace'; it holds image"):
        read_kspace(tmp_path / "empty.h5", 2)
