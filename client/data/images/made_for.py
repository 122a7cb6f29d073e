"""Images that a job is for, by modality and size of pixels; others are refused, whoever asks."""

from pathlib import Path

from client.data.formats.picture import Picture
from shared.errors import UnfitImageError
from shared.job.data_options import DataTable

_REMEDY = "The job says for which images its model is: [data] modalities, pixel_sizes."
_ROUNDING = 1e-3  # relative: sizes are written with few digits


def require_made_for(picture: Picture, data: DataTable, where: Path) -> None:
    """Refuse an image that the job is not for.

    Args:
        picture: The image; of a file that names no modality (NIfTI, PNG) none is asked for.
        data: The job's.
        where: The file.

    Raises:
        UnfitImageError: It is of another modality, or its pixels are smaller or larger, or of unknown size.
    """
    if data.modalities and picture.modality and picture.modality not in data.modalities:
        wanted = " or ".join(data.modalities)
        raise UnfitImageError(
            f"is of the modality {picture.modality}, and the job is for {wanted}", where=where, remedy=_REMEDY
        )
    if not data.pixel_sizes:
        return
    wanted = " x ".join(f"{low:g} to {high:g}" for low, high in data.pixel_sizes)
    if picture.spacing is None:
        raise UnfitImageError(
            f"does not say how large its pixels are, and the job is for pixels of {wanted} mm",
            where=where,
            remedy=_REMEDY,
        )
    pairs = zip(picture.spacing, data.pixel_sizes, strict=True)
    if any(not low * (1 - _ROUNDING) <= own <= high * (1 + _ROUNDING) for own, (low, high) in pairs):
        own = " x ".join(f"{length:.3g}" for length in picture.spacing)
        raise UnfitImageError(
            f"has pixels of {own} mm, and the job is for pixels of {wanted} mm", where=where, remedy=_REMEDY
        )
