"""A dataset of a hospital: manifests, readers, preprocessing, checks."""
