"""Warm processes that serve the calls to sites: one in a hospital, several in a simulation."""
