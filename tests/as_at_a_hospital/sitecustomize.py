"""Hides what developers have installed and a hospital has not from the processes that tests start.

MONAI loads all that it finds, used or not: these take a third of the time that a process needs to begin.
"""

import sys

sys.modules.update(dict.fromkeys(("mlflow", "pandas", "sklearn", "tensorboard")))  # type: ignore[arg-type]
