"""Samples and batches: read, moved and shaded for training."""
