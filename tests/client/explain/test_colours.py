"""Maps over images: orange is what speaks for a class, and blue what speaks against it."""

import numpy as np
import pytest

from client.explain.colours import overlaid, strongest


@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("size", [(10, 20), (5, 8, 6)])
def test_colours_say_for_and_against(channels: int, size: tuple[int, ...]) -> None:
    image = np.full((channels, *size), 0.5, np.float32)
    reasons = np.zeros(size, np.float32)
    reasons[0], reasons[1] = 1, -1
    reasons.flat[0] = 1000  # one pixel alone hides no other
    shown = overlaid(image, reasons, (0.0, 1.0))
    assert shown.shape == (3, *size)
    red, _, blue = shown
    assert (red[0] - blue[0] > 0.4).all()
    assert (blue[1] - red[1] > 0.4).all()
    assert np.allclose(red[2:], blue[2:])
    assert not strongest(reasons)[1].any()


def test_a_map_of_nothing_leaves_the_image() -> None:
    image = np.linspace(0, 1, 12, dtype=np.float32).reshape(1, 3, 4)
    shown = overlaid(image, np.zeros((3, 4), np.float32), (0.0, 1.0))
    assert np.allclose(shown, np.repeat(image, 3, axis=0))
    assert not strongest(np.zeros((3, 4), np.float32)).any()
