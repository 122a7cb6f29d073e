"""Synthetic hospitals, and one dataset cut into many."""
