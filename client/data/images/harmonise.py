"""Images of several scanners brought to one scale: N4, and landmarks of their histograms."""

import numpy as np
import SimpleITK
from numpy.typing import NDArray

from shared.job.data_options import DataTable
from shared.landmarks import INNER

_SHRINK = 4  # of the image on which the field of N4 is fitted, as its authors advise
_LEAST = 8  # pixels along an axis of that image
_CLOSE = 1e-6  # of the range: knots nearer than that are taken apart

_Tissue = NDArray[np.bool_] | None


def harmonised(image: NDArray[np.float32], data: DataTable, tissue: _Tissue = None) -> NDArray[np.float32]:
    """Return an image (C, *S) as the job's `bias_correction` and `landmarks` ask; as it is where they do not.

    Args:
        image: (C, *S).
        data: Of the job.
        tissue: (*S), False where the file says that there is none; None: everywhere.
    """
    if data.bias_correction:
        image = np.stack([without_bias(channel) for channel in image])
    if data.landmarks:
        rows = data.landmarks * len(image) if len(data.landmarks) == 1 else data.landmarks
        image = np.stack([_moved(own, row, tissue) for own, row in zip(image, rows, strict=True)])
    return image


def landmarks_of(channel: NDArray[np.float32], tissue: _Tissue = None) -> NDArray[np.float64]:
    """Return the darkest value, the inner landmarks and the brightest one of a channel (*S), (7,).

    They are percentile 1 of all values, and 10, 25, 50, 75, 90 and 99 of those above the mean, which in a
    head or a body are tissue (Nyul and Udupa, Magn Reson Med 1999; Nyul, Udupa and Zhang, IEEE TMI 2000).
    """
    values = channel.ravel() if tissue is None or not tissue.any() else channel[tissue]
    bright = values[values > values.mean()]
    if not len(bright):
        return np.full(len(INNER) + 2, float(values[0]))
    return np.concatenate([[np.percentile(values, 1)], np.percentile(bright, (*INNER, 99))])


def placed(landmarks: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return where the inner landmarks (5,) lie between the outer ones, 0 to 1; NaN in a flat image."""
    low, high = landmarks[0], landmarks[-1]
    if high <= low:
        return np.full(len(landmarks) - 2, np.nan)
    return np.clip((landmarks[1:-1] - low) / (high - low), 0.0, 1.0)


def without_bias(channel: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return a channel (*S) without its bias field (N4; Tustison and others, IEEE TMI 2010).

    The field is fitted to what Otsu's threshold takes for tissue, on a smaller image, by one thread: the same
    image gives the same bits.
    """
    if channel.max() <= channel.min() or min(channel.shape) < 2 * _LEAST:
        return channel
    lifted = channel - min(float(channel.min()), 0.0)  # N4 takes logarithms
    whole = SimpleITK.GetImageFromArray(lifted)
    factors = [max(1, min(_SHRINK, length // _LEAST)) for length in whole.GetSize()]
    small = SimpleITK.Shrink(whole, factors)
    mask = SimpleITK.OtsuThreshold(small, 0, 1, 200)
    fit = SimpleITK.N4BiasFieldCorrectionImageFilter()
    fit.SetNumberOfThreads(1)
    fit.SetMaximumNumberOfIterations([30, 30, 20])
    fit.Execute(small, mask)
    field = np.exp(SimpleITK.GetArrayFromImage(fit.GetLogBiasFieldAsImage(whole)))
    found: NDArray[np.float32] = (lifted / field).astype(np.float32)
    return found if np.isfinite(found).all() else channel


def _moved(channel: NDArray[np.float32], places: list[float], tissue: _Tissue) -> NDArray[np.float32]:
    """Return a channel whose landmarks lie at the places; between two of them values are moved evenly."""
    knots = landmarks_of(channel, tissue)
    if knots[-1] <= knots[0]:
        return np.zeros_like(channel)
    step = (knots[-1] - knots[0]) * _CLOSE
    apart = np.maximum.accumulate(knots + step * np.arange(len(knots)))
    found: NDArray[np.float32] = np.interp(channel, apart, [0.0, *places, 1.0]).astype(np.float32)
    return found
