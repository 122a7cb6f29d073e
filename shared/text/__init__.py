"""Texts and names: what they may look like, and how they are shown."""
