"""`wardround client ...` and `wardround data ...`."""
