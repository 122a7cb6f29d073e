"""Seeded changes of valid files: bytes of any file, and the fields of formats whose build is known."""

from collections.abc import Sequence

import fuzz_formats as of
from fuzz_bytes import ANY, Change, Random, flip
from fuzz_files import Seed


def changed(seed: Seed, random_: Random) -> bytes:
    """Return a changed copy of a file; a third of the changes follow one another."""
    content = seed.content
    known = _KNOWN.get(seed.form, ())
    while True:
        change = random_.choice(known if known and random_.random() < 0.6 else ANY)
        content = change(content, random_)
        if random_.random() < 0.67:
            return content


_KNOWN: dict[str, Sequence[Change]] = {
    "dicom": (of.element, of.element, of.element, of.element, of.length, of.without_element, of.nested),
    "nifti1": (of.nifti1,),
    "nifti2": (of.nifti2,),
    "nifti1.gz": (*(of.inside(of.nifti1),) * 20, *(of.inside(flip),) * 5, of.bomb),
    "nifti2.gz": (*(of.inside(of.nifti2),) * 20, *(of.inside(flip),) * 5),
    "png": (of.chunk, of.picture_header),
    "jpeg": (of.jpeg_size, flip),
    "tiff": (of.tiff_entry,),
    "lines": (of.line,),
    "npy": (of.npy_header,),
    "text": (of.words,),
}
