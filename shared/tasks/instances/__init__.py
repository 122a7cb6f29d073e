"""Instances: each object of a kind with a number and an outline of its own, and how many there are."""
