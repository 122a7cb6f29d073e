"""Readers of file formats: each returns a `Picture`, with every bit that the file has."""
