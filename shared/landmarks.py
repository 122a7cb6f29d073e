"""Which landmarks of a histogram say how an image's values are spread."""

INNER = (10, 25, 50, 75, 90)
"""Percentiles of an image's bright values, between its darkest and its brightest."""
