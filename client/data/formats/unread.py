"""Formats that are not read, by the endings of their files: what they are, and what helps."""

from pathlib import Path

from shared.errors import DataError

KNOWN = "PNG, JPEG, BMP, TIFF, NIfTI, DICOM, MetaImage, NRRD and .npy"
_SLIDE = (
    "a whole slide",
    "A field of the kind 'tiles' reads .svs and .tif at [data] mpp, and a folder of tiles that were cut.",
)
_FILM = (
    "a film",
    "A field of the kind 'series' reads a folder of its frames (ffmpeg -i FILM frames/%06d.png).",
)
_PICTURE = "a picture of a format that is not read", "Save it as PNG."
_VOLUME = "a volume of a format that is not read", "Convert it to NIfTI."
_ARCHIVE = "an archive", "Unpack it."
_UNREAD = {
    **dict.fromkeys((".svs", ".ndpi", ".mrxs", ".scn", ".bif", ".vms", ".czi", ".vsi"), _SLIDE),
    **dict.fromkeys((".mp4", ".avi", ".mov", ".mkv", ".wmv", ".mpg", ".mpeg", ".webm"), _FILM),
    **dict.fromkeys((".heic", ".heif", ".avif", ".webp", ".gif", ".jp2", ".j2k", ".psd", ".pgm"), _PICTURE),
    **dict.fromkeys(
        (".hdr", ".img", ".img.gz", ".mgz", ".mgh", ".mnc", ".par", ".rec", ".v", ".nii.bz2"), _VOLUME
    ),
    **dict.fromkeys((".zip", ".tar", ".tgz", ".7z", ".rar", ".npz"), _ARCHIVE),
    **dict.fromkeys((".mat", ".h5", ".hdf5", ".pkl", ".pt"), ("an array in a container", "Save it as .npy.")),
}


def unread(path: Path) -> DataError:
    """Return the error for a file of a format that is not read."""
    name = path.name.lower()
    for ending, (what, remedy) in _UNREAD.items():
        if name.endswith(ending):
            return DataError(f"is {what} ({ending})", where=path, remedy=remedy)
    return DataError(f"is of no known format; known are {KNOWN}", where=path)
