"""Runs: their folders, their lives, and what people do with them."""
