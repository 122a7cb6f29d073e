"""The coordinator's only door: one listener for sites, one for people."""
