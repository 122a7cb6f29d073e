"""Hides what developers have installed and a hospital has not from the processes that tests start.

MONAI loads all that it finds, used or not: these take a third of the time that a process needs to begin.
"""

import sys

hidden = ["mlflow", "sklearn", "tensorboard"]
if "ipykernel_launcher" not in sys.orig_argv:  # a notebook shows tables
    hidden.append("pandas")
sys.modules.update(dict.fromkeys(hidden))  # type: ignore[arg-type]
