"""Prepared samples, made by several processes and kept on disk."""
