"""`wardround simulate` and `wardround audit-privacy`."""
