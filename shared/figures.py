"""Whom a hospital lets see what is its alone."""

from typing import Literal

FiguresFor = Literal["nobody", "operators", "project"]
"""At the coordinator: nobody, its operators, or everybody who sees the run."""
