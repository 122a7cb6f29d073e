"""Flower's SuperLink, as a process of the coordinator."""
