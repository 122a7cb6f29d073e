"""A site's bounds without their noise: for tests of what else is done to what leaves."""

from client.guard.bounds import Bounds, Counts


class Silent(Bounds):
    """Bounds without noise; how many patients are cut is drawn."""

    def deviation(self, images: Counts) -> float:
        """Return that of no noise."""
        return 0.0


def silent(least: int, seed: int = 0) -> Silent:
    """Return the bounds of a site whose `min_group` is this."""
    return Silent(least, lambda _: seed)
