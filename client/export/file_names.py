"""The files of an export, besides a program of its own format, its signature and its run's passport."""

CARD, LICENCE, ABOUT, PREPROCESSING = "README.md", "LICENSE", "model.json", "preprocessing.json"
WEIGHTS = "model.safetensors"
"""Of an export as safetensors: the run's own file."""
