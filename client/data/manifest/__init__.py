"""The manifest of a dataset: its rows, the tables beside it, its split, and folders that have none."""
