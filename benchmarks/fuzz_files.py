"""Small valid files of every kind that is read: what `fuzz_readers.py` changes."""

import gzip
import io
import json
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import nibabel
import numpy as np
import pydicom.data
import SimpleITK as sitk  # noqa: N813
from fuzz_dicom import dicom_files
from numpy.typing import NDArray
from PIL import Image

ROWS, COLUMNS, SLICES = 10, 12, 4
SHIPPED = Path(pydicom.data.__file__).parent / "test_files"
_BY_PYDICOM = {
    "jpeg": "SC_rgb_small_odd_jpeg.dcm",
    "jpeg lossless": "SC_rgb_jpeg_gdcm.dcm",
    "jpeg 12 bit": "JPGExtended.dcm",
    "jpeg 2000": "JPEG2000.dcm",
    "jpeg 2000 lossless": "MR_small_jp2klossless.dcm",
    "jpeg-ls near": "JPEGLSNearLossless_16.dcm",
    "big endian": "MR_small_bigendian.dcm",
    "rle of two frames": "SC_rgb_rle_2frame.dcm",
    "dose": "rtdose_1frame.dcm",
    "deflated": "image_dfl.dcm",
}


@dataclass(frozen=True)
class Seed:
    """A valid file.

    Attributes:
        kind: What it is counted as.
        name: Its file's name; the ending chooses the reader.
        content: Its bytes.
        form: How it is built, for the mutations that know.
        mask: Whether it is read as the mask of an image.
        beside: Files that it names: name -> bytes.
    """

    kind: str
    name: str
    content: bytes
    form: str
    mask: bool = False
    beside: tuple[tuple[str, bytes], ...] = ()


def seeds() -> list[Seed]:
    """Return the valid files, in a fixed order."""
    with tempfile.TemporaryDirectory(prefix="wardround-fuzz-") as folder:
        makers = (_dicom, _nifti, _pictures, _tiff, _itk, _arrays, _tables, _folders)
        return [seed for make in makers for seed in make(Path(folder))]


def numbers(shape: tuple[int, ...], dtype: type = np.int16) -> NDArray[np.generic]:
    """Return the numbers of an image, the same each time."""
    top = 200 if np.dtype(dtype).itemsize == 1 else 3000
    return np.random.default_rng(7).integers(0, top, shape).astype(dtype)


def _dicom(folder: Path) -> Iterator[Seed]:
    for kind, content, mask in dicom_files(folder):
        yield Seed(f"DICOM {kind}", "x.dcm", content, "dicom", mask)
    for kind, name in _BY_PYDICOM.items():
        yield Seed(f"DICOM {kind}", "x.dcm", (SHIPPED / name).read_bytes(), "dicom")


def _nifti(folder: Path) -> Iterator[Seed]:
    affine = np.array([[0, -2.0, 0, 5], [1.5, 0, 0, -7], [0, 0, 3, 11], [0, 0, 0, 1]])
    volume = numbers((COLUMNS, ROWS, SLICES))
    scaled = nibabel.Nifti1Image(volume, affine)
    scaled.header.set_slope_inter(0.5, -10)
    colour = np.zeros((5, 4, 3), np.dtype([("R", "u1"), ("G", "u1"), ("B", "u1")]))
    images = {
        "1": nibabel.Nifti1Image(volume, affine),
        "scaled": scaled,
        "float": nibabel.Nifti1Image(volume.astype(np.float32), affine),
        "4D": nibabel.Nifti1Image(numbers((6, 5, 4, 3)), affine),
        "flat": nibabel.Nifti1Image(numbers((9, 8, 1), np.uint8), affine),
        "2": nibabel.Nifti2Image(volume, affine),
        "colour": nibabel.Nifti1Image(colour, affine),
        "extended": _extended(nibabel.Nifti1Image(volume, affine)),
    }
    for kind, image in images.items():
        content = image.to_bytes()
        form = "nifti2" if kind == "2" else "nifti1"
        yield Seed(f"NIfTI {kind}", "x.nii", content, form)
        if kind in ("1", "2"):
            yield Seed(f"NIfTI {kind} .gz", "x.nii.gz", gzip.compress(content, mtime=0), f"{form}.gz")
    mask = nibabel.Nifti1Image((volume > 1500).astype(np.uint8), affine)
    yield Seed("NIfTI mask", "m.nii.gz", gzip.compress(mask.to_bytes(), mtime=0), "nifti1.gz", mask=True)


def _extended(image: nibabel.Nifti1Image) -> nibabel.Nifti1Image:
    image.header.extensions.append(nibabel.nifti1.Nifti1Extension("comment", b"a comment of some bytes"))
    return image


def _saved(save: Callable[[io.BytesIO], None]) -> bytes:
    stream = io.BytesIO()
    save(stream)
    return stream.getvalue()


def _pictures(folder: Path) -> Iterator[Seed]:
    grey = numbers((ROWS, COLUMNS), np.uint8)
    colour = numbers((ROWS, COLUMNS, 3), np.uint8)
    images = {
        "grey": Image.fromarray(grey),
        "colour": Image.fromarray(colour),
        "alpha": Image.fromarray(np.dstack([colour, np.full_like(grey, 255)])),
        "palette": Image.fromarray(colour).quantize(16),
        "16 bits": Image.fromarray(numbers((ROWS, COLUMNS), np.uint16)),
        "1 bit": Image.fromarray(grey > 100),
    }
    for kind, image in images.items():
        yield Seed(f"PNG {kind}", "x.png", _saved(lambda to, image=image: image.save(to, "PNG")), "png")
    yield Seed("PNG mask", "m.png", _saved(lambda to: images["palette"].save(to, "PNG")), "png", mask=True)
    deep = folder / "deep.png"
    sitk.WriteImage(sitk.GetImageFromArray(numbers((ROWS, COLUMNS, 3), np.uint16), isVector=True), str(deep))
    yield Seed("PNG 16 bits of colour", "x.png", deep.read_bytes(), "png")
    turned = Image.Exif()
    turned[274] = 6
    for kind, image, options in (
        ("grey", images["grey"], {}),
        ("colour", images["colour"], {"exif": turned}),
        ("progressive", images["colour"], {"progressive": True}),
        ("CMYK", images["colour"].convert("CMYK"), {}),
    ):
        content = _saved(lambda to, image=image, options=options: image.save(to, "JPEG", **options))
        yield Seed(f"JPEG {kind}", "x.jpg", content, "jpeg")
    for kind in ("grey", "palette", "1 bit"):
        image = images[kind]
        yield Seed(f"BMP {kind}", "x.bmp", _saved(lambda to, image=image: image.save(to, "BMP")), "bytes")


def _tiff(folder: Path) -> Iterator[Seed]:
    grey, colour = numbers((ROWS, COLUMNS), np.uint16), numbers((ROWS, COLUMNS, 3), np.uint8)
    ome = '<OME><Pixels PhysicalSizeX="0.5" PhysicalSizeY="0.25" PhysicalSizeYUnit="mm"/></OME>'
    pages = [Image.fromarray(page) for page in numbers((SLICES, ROWS, COLUMNS), np.uint8)]
    for kind, image, options in (
        ("16 bits", Image.fromarray(grey), {}),
        ("colour", Image.fromarray(colour), {}),
        ("float", Image.fromarray(grey.astype(np.float32)), {}),
        ("deflated", Image.fromarray(colour), {"compression": "tiff_adobe_deflate"}),
        ("LZW", Image.fromarray(colour), {"compression": "tiff_lzw"}),
        ("packbits", Image.fromarray(colour), {"compression": "packbits"}),
        ("JPEG", Image.fromarray(colour), {"compression": "jpeg"}),
        ("OME", Image.fromarray(grey), {"description": ome}),
        ("Big", Image.fromarray(grey), {"big_tiff": True}),
        ("pages", pages[0], {"save_all": True, "append_images": pages[1:]}),
    ):
        content = _saved(lambda to, image=image, options=options: image.save(to, "TIFF", **options))
        yield Seed(f"TIFF {kind}", "x.tif", content, "tiff")


def _itk(folder: Path) -> Iterator[Seed]:
    image = sitk.GetImageFromArray(numbers((SLICES, ROWS, COLUMNS)))
    image.SetSpacing((0.5, 0.75, 2.0))
    image.SetOrigin((-10.0, 20.0, 30.0))
    flat = sitk.GetImageFromArray(numbers((ROWS, COLUMNS), np.uint8))
    for ending, packed, kind in (
        ("mha", False, "MetaImage"),
        ("mha", True, "MetaImage packed"),
        ("nrrd", False, "NRRD"),
        ("nrrd", True, "NRRD packed"),
    ):
        path = folder / f"x.{ending}"
        sitk.WriteImage(image, str(path), packed)
        yield Seed(kind, path.name, path.read_bytes(), "lines")
    for ending, data, kind in (
        ("mhd", "raw", "MetaImage in two files"),
        ("nhdr", "raw", "NRRD in two files"),
    ):
        path = folder / f"x.{ending}"
        sitk.WriteImage(image, str(path))
        beside = path.with_suffix(f".{data}")
        yield Seed(kind, path.name, path.read_bytes(), "lines", beside=((beside.name, beside.read_bytes()),))
    path = folder / "flat.mha"
    sitk.WriteImage(flat, str(path))
    yield Seed("MetaImage flat", "x.mha", path.read_bytes(), "lines")
    text = "NRRD0004\ntype: short\ndimension: 2\nsizes: 3 2\nencoding: ascii\n\n1 2 3\n4 5 6\n"
    yield Seed("NRRD in text", "x.nrrd", text.encode(), "lines")


def _arrays(folder: Path) -> Iterator[Seed]:
    for kind, array in (
        ("C", numbers((ROWS, COLUMNS))),
        ("Fortran", np.asfortranarray(numbers((ROWS, COLUMNS, SLICES)))),
        ("float", numbers((3, 4, 5, 6)).astype(np.float64)),
    ):
        yield Seed(f".npy {kind}", "x.npy", _saved(lambda to, array=array: np.save(to, array)), "npy")


def _tables(folder: Path) -> Iterator[Seed]:
    text = "patient,image,label,mask,site,split\n"
    text += "p1,a.png,yes,m.png,north,train\np2,ü/b.nii.gz,no,a|b,south,test\n"
    yield Seed("CSV", "manifest.csv", text.encode(), "text")
    yield Seed("CSV quoted", "manifest.csv", text.replace("yes", '"y, ""e""\ns"').encode(), "text")
    yield Seed(
        "CSV semicolons", "manifest.csv", ("sep=;\r\n" + text.replace(",", ";")).encode("utf-8-sig"), "text"
    )
    yield Seed("CSV UTF-16", "manifest.csv", text.replace(",", "\t").encode("utf-16"), "text")


def _folders(folder: Path) -> Iterator[Seed]:
    facts = {
        "labels": {"0": "background", "1": "liver"},
        "training": [{"image": "./imagesTr/a.nii.gz", "label": "./labelsTr/a.nii.gz"}],
    }
    beside = (("imagesTr/a.nii.gz", b""), ("labelsTr/a.nii.gz", b""))
    yield Seed("dataset.json", "dataset.json", json.dumps(facts, indent=1).encode(), "text", beside=beside)
