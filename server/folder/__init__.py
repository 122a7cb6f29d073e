"""The coordinator's folder: its settings, its keys, and copies of it."""
